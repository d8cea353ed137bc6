"""List the tasks by name. To add one: a file in this folder with a `Task`, and a line here."""

from collections.abc import Mapping

from pipeline.config.lazy_import import LazyObject

TASKS: Mapping[str, LazyObject] = {
    "classification": LazyObject("pipeline.tasks.classification:CLASSIFICATION"),
}
