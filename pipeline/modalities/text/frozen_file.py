"""Read the file of a frozen vocabulary, and check it against the params."""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.modalities.text.params import MAX_UINT16, FrozenVocabulary, TextFeatures
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json


def read_frozen_file(frozen: FrozenVocabulary) -> Any:
    """Return the file's JSON; None if it is not JSON.

    Raises:
        InputError: it is missing or has another sha256; the message names the setting.
    """
    path = Path(frozen.path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"extract.text.frozen.path is {path}, which cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != frozen.sha256:
        raise InputError(
            f"extract.text.frozen.sha256 is {frozen.sha256}, but {path} has {sha256}: name another "
            "file, or set its hash"
        )
    try:
        return decode_json(content)
    except FormatError:
        return None


def check_room(largest: int, params: TextFeatures) -> None:
    """Check that `params.dtype` holds the largest id.

    Raises:
        InputError: it does not; the message names the setting.
    """
    if params.dtype == "uint16" and largest >= MAX_UINT16:
        raise InputError(
            f"extract.text.dtype is uint16; it must be int32, as extract.text.frozen has ids up to {largest}"
        )
