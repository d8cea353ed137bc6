"""The modalities there are. To add one: its file in this folder, its line here, its name in
`pipeline.tables.contracts`."""

from typing import Any

from pipeline.modalities.audio.modality import AUDIO
from pipeline.modalities.image.modality import IMAGE
from pipeline.modalities.modality import Modality
from pipeline.modalities.text.modality import TEXT
from pipeline.modalities.video.modality import VIDEO

MODALITIES: dict[str, Modality[Any, Any]] = {modality.name: modality for modality in (IMAGE, AUDIO, TEXT, VIDEO)}
"""In the order of `pipeline.tables.contracts.MODALITIES`."""
