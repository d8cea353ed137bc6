"""Declare how the files of fields are decoded: `data.decode(image=ops.Image(ops.CenterCrop(224)))`.

Decoders, such as OpenCV, are imported when the first file is decoded.
"""

from shardwright.ops.audio.audio import Audio
from shardwright.ops.audio.mel import LogMel, Mfcc
from shardwright.ops.crops import CenterCrop, RandomResizedCrop, Resize
from shardwright.ops.image import Image
from shardwright.ops.layouts import Pad, Ragged
from shardwright.ops.normalize import Normalize
from shardwright.ops.nvimgcodec import NvImageCodec
from shardwright.ops.spans import CenterSpan, FirstSpan, RandomSpan, Whole
from shardwright.ops.tokens import Tokens
from shardwright.ops.video.frames import Frames

__all__ = [
    "Audio",
    "CenterCrop",
    "CenterSpan",
    "FirstSpan",
    "Frames",
    "Image",
    "LogMel",
    "Mfcc",
    "Normalize",
    "NvImageCodec",
    "Pad",
    "Ragged",
    "RandomResizedCrop",
    "RandomSpan",
    "Resize",
    "Tokens",
    "Whole",
]
