"""Decode the members of WebDataset shards: a closed list of types; members of other types stay bytes.

No content of a shard is executed: no pickle, no object arrays, no type outside of the list. OpenCV and soundfile are
imported when the first image or audio file is decoded.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.format.image_header import read_image_size
from shardwright.format.opencv import decode_rgb, load_opencv
from shardwright.webdataset.limits import Limits
from shardwright.webdataset.npy import decode_npy
from shardwright.webdataset.npz import decode_npz

Decoder = Callable[[bytes], Any]
Kind = Literal["image", "audio", "text", "json", "npy", "npz", "cls"]

KINDS: Mapping[str, Kind] = {
    "jpg": "image",
    "jpeg": "image",
    "png": "image",
    "webp": "image",
    "wav": "audio",
    "flac": "audio",
    "ogg": "audio",
    "txt": "text",
    "text": "text",
    "transcript": "text",
    "json": "json",
    "jsn": "json",
    "npy": "npy",
    "npz": "npz",
    "cls": "cls",
    "cls2": "cls",
    "class": "cls",
    "index": "cls",
    "inx": "cls",
}
"""By the part after the last dot of the suffix, as in webdataset, without its types that are unpickled."""

AUDIO_FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG")
INSTEAD = "or pass your own functions as decode={...}, or decode=None for bytes"
INTEGER = re.compile(rb"[+-]?[0-9]{1,19}")


class Sound(NamedTuple):
    """Decoded audio: float32 (frames, channels) in -1 … 1, and the sampling rate in Hz. A tuple, as in torchaudio."""

    samples: NDArray[np.float32]
    rate: int


def find_kind(suffix: str) -> Kind | None:
    """Return the type of a suffix such as "jpg" or "mask.png", or None if it is not in the list."""
    return KINDS.get(suffix.rpartition(".")[2])


def choose_decoder(suffix: str, user_decoders: Mapping[str, Decoder], limits: Limits) -> Decoder | None:
    """Return the decoder of the members with this suffix, or None if they stay bytes.

    Args:
        suffix: in lower case, such as "jpg" or "mask.png".
        user_decoders: the user's functions, by the whole suffix or by the part after its last dot.
        limits: see `Limits.pixels`, `Limits.audio_values` and `Limits.array_bytes`.
    """
    if (found := find_user_decoder(suffix, user_decoders)) is not None:
        return found
    decoders: Mapping[Kind, Decoder] = {
        "image": partial(decode_image, max_pixels=limits.pixels),
        "audio": partial(decode_audio, max_values=limits.audio_values),
        "text": decode_text,
        "json": decode_json_value,
        "npy": decode_npy,
        "npz": partial(decode_npz, max_bytes=limits.array_bytes),
        "cls": decode_integer,
    }
    kind = find_kind(suffix)
    return None if kind is None else decoders[kind]


def find_user_decoder(suffix: str, user_decoders: Mapping[str, Decoder]) -> Decoder | None:
    """Return the user's function for a suffix: by the whole suffix, or else by the part after its last dot."""
    return user_decoders.get(suffix, user_decoders.get(suffix.rpartition(".")[2]))


def decode_image(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode an image to uint8 (height, width, 3), RGB, upright by its EXIF data; grey is repeated, alpha dropped.

    Raises:
        ValueError: it is neither JPEG, PNG nor WebP, has too many pixels, or cannot be decoded.
        ModuleNotFoundError: OpenCV is not installed.
    """
    cv2 = load_opencv(INSTEAD)
    size = read_image_size(data)
    if size.height * size.width > max_pixels:
        raise ValueError(f"it has {size.width} × {size.height} pixels; Limits.pixels allows {max_pixels}")
    return decode_rgb(cv2, np.frombuffer(data, np.uint8), upright=True)


def decode_audio(data: bytes, max_values: int) -> Sound:
    """Decode a WAV, FLAC or OGG file, see `Sound`.

    Raises:
        ValueError: it has another format, too many values, or cannot be decoded to its end.
        ModuleNotFoundError: soundfile is not installed.
    """
    soundfile = _load_soundfile()
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in AUDIO_FORMATS:
                raise ValueError(f"its format is {file.format}; it must be WAV, FLAC or OGG")
            if file.frames * file.channels > max_values:
                raise ValueError(
                    f"it has {file.frames} frames of {file.channels} channels; Limits.audio_values allows "
                    f"{max_values} values"
                )
            expected, rate = file.frames, file.samplerate
            samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise ValueError(f"libsndfile cannot decode it: {error}") from error
    if len(samples) != expected:
        raise ValueError(f"it has {len(samples)} frames; its header declares {expected}")
    return Sound(samples, rate)


def decode_text(data: bytes) -> str:
    """Return the text unchanged.

    Raises:
        ValueError: it is not UTF-8.
    """
    return data.decode()


def decode_json_value(data: bytes) -> Any:
    """Return the JSON value, with NaN and infinities, which Python's json module writes.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error


def decode_integer(data: bytes) -> np.int64:
    """Return the integer in decimal digits, ignoring white space around it.

    Raises:
        ValueError: it is not an integer, or does not fit in 64 bits.
    """
    text = data.strip()
    if not INTEGER.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"it is {data[:40]!r}; it must be an integer of 64 bits")
    return np.int64(int(text))


def _load_soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"audio is decoded by soundfile, which is not installed: pip install soundfile, {INSTEAD}",
            name="soundfile",
        ) from error
    return soundfile
