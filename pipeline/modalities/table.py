"""List the modalities. Reading the table imports none of them.

To add one: its folder beside this file, its row here, and its name in `pipeline.tables.contracts.MODALITIES`. The names
are there because every stage reads them, and what a row refers to counts as code that its readers run: crawl or train
would depend on every decoder. A test compares the two.
"""

from typing import Any

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.modalities.modality import Modality

MODALITIES: LazyTable[Modality[Any, Any]] = LazyTable(
    {
        "image": LazyObject("pipeline.modalities.image.modality:IMAGE"),
        "audio": LazyObject("pipeline.modalities.audio.modality:AUDIO"),
        "text": LazyObject("pipeline.modalities.text.modality:TEXT"),
        "video": LazyObject("pipeline.modalities.video.modality:VIDEO"),
    }
)
"""In the order of `pipeline.tables.contracts.MODALITIES`."""
