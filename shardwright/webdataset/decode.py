"""What the members of foreign shards become: a closed list of types, and bytes for all others.

Nothing here runs code that a shard brings: no pickle, no object arrays, no type that is not in the list. OpenCV and
soundfile are imported when the first picture or sound is decoded.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.format.image_header import read_picture_size
from shardwright.format.opencv import decode_rgb, load_opencv
from shardwright.webdataset.limits import Limits
from shardwright.webdataset.npy import decode_npy

Decoder = Callable[[bytes], Any]
Kind = Literal["picture", "sound", "text", "json", "npy", "cls"]

KINDS: Mapping[str, Kind] = {
    "jpg": "picture",
    "jpeg": "picture",
    "png": "picture",
    "webp": "picture",
    "wav": "sound",
    "flac": "sound",
    "ogg": "sound",
    "txt": "text",
    "text": "text",
    "transcript": "text",
    "json": "json",
    "jsn": "json",
    "npy": "npy",
    "cls": "cls",
    "cls2": "cls",
    "class": "cls",
    "index": "cls",
    "inx": "cls",
}
"""By what follows the last dot of the suffix, as webdataset spells them; its types that unpickle are left out."""

SOUND_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
INSTEAD = "or give functions of your own as decode={...}, or decode=None for bytes"
INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")


class Sound(NamedTuple):
    """A sound: float32 (frames, channels) in -1 … 1, and its frames a second. A tuple, as torchaudio gives it."""

    samples: NDArray[np.float32]
    rate: int


def find_kind(suffix: str) -> Kind | None:
    """The type that a suffix such as "jpg" or "mask.png" stands for, or None where it is none of the list."""
    return KINDS.get(suffix.rpartition(".")[2])


def choose_decoder(suffix: str, own: Mapping[str, Decoder], limits: Limits) -> Decoder | None:
    """What decodes the members with this suffix, or None where they stay bytes.

    Args:
        suffix: in lower case, such as "jpg" or "mask.png".
        own: the user's functions, by the whole suffix or by what follows its last dot.
        limits: see `Limits.pixels` and `Limits.audio_values`.
    """
    if (found := find_own(suffix, own)) is not None:
        return found
    decoders: Mapping[Kind, Decoder] = {
        "picture": partial(decode_picture, max_pixels=limits.pixels),
        "sound": partial(decode_sound, max_values=limits.audio_values),
        "text": decode_text,
        "json": decode_json_value,
        "npy": decode_npy,
        "cls": decode_integer,
    }
    kind = find_kind(suffix)
    return None if kind is None else decoders[kind]


def find_own(suffix: str, own: Mapping[str, Decoder]) -> Decoder | None:
    """The user's function for a suffix: by the whole of it, or else by what follows its last dot."""
    return own.get(suffix, own.get(suffix.rpartition(".")[2]))


def decode_picture(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3), RGB, turned upright as its EXIF data says; grey is repeated, alpha left out.

    Raises:
        ValueError: it is neither JPEG, PNG nor WebP, has more pixels than allowed, or cannot be decoded.
        ModuleNotFoundError: OpenCV is not installed.
    """
    cv2 = load_opencv(INSTEAD)
    size = read_picture_size(data)
    if size.height * size.width > max_pixels:
        raise ValueError(f"{size.width} × {size.height} pixels, {max_pixels} are allowed (Limits.pixels)")
    return decode_rgb(cv2, np.frombuffer(data, np.uint8), upright=True)


def decode_sound(data: bytes, max_values: int) -> Sound:
    """A WAV, FLAC or OGG file, see `Sound`.

    Raises:
        ValueError: it is none of them, has more values than allowed, or cannot be decoded to its end.
        ModuleNotFoundError: soundfile is not installed.
    """
    soundfile = _load_soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in SOUND_FORMATS:
                raise ValueError(f"a file of the format {file.format}, neither WAV, FLAC nor OGG")
            if file.frames * file.channels > max_values:
                raise ValueError(
                    f"{file.frames} frames of {file.channels} channels, {max_values} values are allowed "
                    "(Limits.audio_values)"
                )
            wanted, rate = file.frames, file.samplerate
            samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"libsndfile cannot decode it: {error}") from error
    if len(samples) != wanted:
        raise ValueError(f"{len(samples)} frames, its header says {wanted}")
    return Sound(samples, rate)


def decode_text(data: bytes) -> str:
    """The text, without a change.

    Raises:
        ValueError: it is not UTF-8.
    """
    return data.decode()


def decode_json_value(data: bytes) -> Any:
    """The JSON value; NaN and the infinities, which Python's writers leave in such files, are read as they are meant.

    Raises:
        ValueError: it is not JSON, or nested too deeply to read.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply to read") from error


def decode_integer(data: bytes) -> np.int64:
    """The number in decimal digits, with white space around it or not.

    Raises:
        ValueError: it is none, or has no place in 64 bits.
    """
    text = data.strip()
    if not INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"no whole number of 64 bits: {data[:40]!r}")
    return np.int64(int(text))


def _load_soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"sounds are decoded with soundfile, which is not installed: pip install soundfile, {INSTEAD}",
            name="soundfile",
        ) from error
    return soundfile
