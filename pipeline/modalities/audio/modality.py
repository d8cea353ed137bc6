"""Bundle the modality audio."""

from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.features import extract_audio, plan_audio_fields, prepare_audio
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Modality

AUDIO = Modality(
    name="audio",
    check=check_audio,
    plan_fields=plan_audio_fields,
    extract=extract_audio,
    prepare=prepare_audio,
    check_params=AudioCheck,
    feature_params=AudioFeatures,
    libraries=("numba",),  # librosa computes with it
    clip="seconds",
)
