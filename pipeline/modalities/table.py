"""The modalities there are. To add one: its file in this folder, its line here, its name in `pipeline.contracts`."""

from typing import Any

from pipeline.modalities.audio import AUDIO
from pipeline.modalities.image import IMAGE
from pipeline.modalities.modality import Modality
from pipeline.modalities.text import TEXT
from pipeline.modalities.video import VIDEO

MODALITIES: dict[str, Modality[Any, Any]] = {modality.name: modality for modality in (IMAGE, AUDIO, TEXT, VIDEO)}
"""In the order of `pipeline.contracts.MODALITIES`."""
