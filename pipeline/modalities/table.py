"""Find each modality by its name. Reading the table imports none of them.

To add one: its folder beside this file, with a `modality.py` that has the bundle under the name in capitals, and its
name in `pipeline.tables.contracts`. The names are there because every stage reads them, and what a row refers to counts
as code that its readers run: crawl or train would depend on every decoder.
"""

from typing import Any

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.modalities.modality import Modality
from pipeline.tables.contracts import MODALITIES as NAMES

MODALITIES: LazyTable[Modality[Any, Any]] = LazyTable(
    {name: LazyObject(f"pipeline.modalities.{name}.modality:{name.upper()}") for name in NAMES}
)
"""In the order of their names in `pipeline.tables.contracts`."""
