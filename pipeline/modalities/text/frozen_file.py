"""The file with a vocabulary that was learned before, where the params name one."""

import hashlib
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.modalities.text.params import MAX_UINT16, FrozenVocabulary, TextFeatures
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json


def read_frozen_file(frozen: FrozenVocabulary) -> Any:
    """The file's JSON; None if it is none.

    Raises:
        InputError: it is missing or has another sha256; the message names the setting.
    """
    path = Path(frozen.path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"extract.text.frozen.path: {path} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != frozen.sha256:
        raise InputError(f"extract.text.frozen.sha256: {path} has the sha256 {sha256}, not {frozen.sha256}")
    try:
        return decode_json(content)
    except FormatError:
        return None


def check_room(largest: int, params: TextFeatures) -> None:
    """See that `params.dtype` holds the largest id.

    Raises:
        InputError: it does not; the message names the setting.
    """
    if params.dtype == "uint16" and largest >= MAX_UINT16:
        raise InputError(f"extract.text.dtype is uint16, and extract.text.frozen has ids up to {largest}: use int32")
