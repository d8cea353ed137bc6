"""Bundle the modality image."""

from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.features import extract_image, plan_image_fields, prepare_image
from pipeline.modalities.image.params import ImageFeatures
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Modality

IMAGE = Modality(
    name="image",
    check=check_image,
    plan_fields=plan_image_fields,
    extract=extract_image,
    prepare=prepare_image,
    check_params=ImageCheck,
    feature_params=ImageFeatures,
    content="image",
)
