"""Bundle the modality video: MP4, WebM, Matroska and AVI."""

from pipeline.modalities.modality import Modality
from pipeline.modalities.video.check import check_video
from pipeline.modalities.video.features import extract_video, plan_video_fields, prepare_video
from pipeline.modalities.video.params import VideoFeatures
from pipeline.modalities.video.rules import VideoCheck

VIDEO = Modality(
    name="video",
    check=check_video,
    plan_fields=plan_video_fields,
    extract=extract_video,
    prepare=prepare_video,
    check_params=VideoCheck,
    feature_params=VideoFeatures,
    libraries=("numba",),  # librosa computes with it
    content="video",
)
