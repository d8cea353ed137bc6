"""Declare how the files of fields are decoded: `data.decode(image=ops.Image(ops.CenterCrop(224)))`.

Decoders, such as OpenCV, are imported when the first file is decoded.
"""

from shardwright.ops.crops import CenterCrop, RandomResizedCrop, Resize
from shardwright.ops.image import Image
from shardwright.ops.normalize import Normalize

__all__ = ["CenterCrop", "Image", "Normalize", "RandomResizedCrop", "Resize"]
