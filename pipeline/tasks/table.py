"""List the tasks by name. To add one: a file in this folder with a `Task`, and a line here."""

from typing import TYPE_CHECKING, Any

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from pipeline.tasks.task import Task

TASKS: "LazyTable[Task[Any]]" = LazyTable(
    {
        "classification": LazyObject("pipeline.tasks.classification:CLASSIFICATION"),
        "binary": LazyObject("pipeline.tasks.tagging:BINARY"),
        "multi_label": LazyObject("pipeline.tasks.tagging:MULTI_LABEL"),
        "regression": LazyObject("pipeline.tasks.regression:REGRESSION"),
        "retrieval": LazyObject("pipeline.tasks.retrieval:RETRIEVAL"),
        "masked_words": LazyObject("pipeline.tasks.masked_words:MASKED_WORDS"),
        "generation": LazyObject("pipeline.tasks.generation.task:GENERATION"),
    },
    LazyObject("pipeline.tasks.task:Task"),
)
