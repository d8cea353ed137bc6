"""Turn text into the ids of a tokenizer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate, allocate_rows
from shardwright.format.field import Field
from shardwright.ops.operation import Contents, Operation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LENGTH = Field("int64", ())
FILE = "tokenizer.json"
"""The tokenizer in a folder of Hugging Face."""


@dataclass(frozen=True)
class TokenizerJson:
    """A tokenizer as JSON text, which is picklable and has one hash, however it was given."""

    text: str

    @property
    def sha256(self) -> str:
        """The hash of the JSON with sorted keys and without spaces."""
        canonical = json.dumps(json.loads(self.text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

    def __repr__(self) -> str:
        return f"TokenizerJson({self.sha256[:12]}…)"


@dataclass(frozen=True)
class Tokens(Operation):
    """A UTF-8 text file as the ids of a tokenizer.

    A batch has, of a field `text`:

    - `text`: (batch, longest), a text that is shorter followed by the id that the tokenizer pads with, or 0; with
      `longest=None` a list of arrays (tokens,). `ops.Pad` and `ops.Ragged` cut the padding.
    - `text_length`: int64 (batch,), the tokens of each text after truncation.

    A text with more than `longest` tokens is cut at its end, before the tokens that the tokenizer adds there, such as
    `[SEP]`. What the tokenizer's file says of truncation and padding does not apply.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, the path of its JSON, or a folder of Hugging Face with `tokenizer.json`.
        longest: tokens of a text; None for any number.
        dtype: of the ids.
        special: add the tokens that mark start and end, where the tokenizer has such.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError, ValueError: an argument is not allowed, or the file is not a tokenizer.
    """

    tokenizer: Union["Tokenizer", str, Path, TokenizerJson]
    longest: int | None = 512
    dtype: Literal["int32", "int64"] = "int64"
    special: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokenizer", _read_tokenizer(self.tokenizer))
        if self.longest is not None and (type(self.longest) is not int or self.longest < 1):
            raise ValueError(f"longest is {self.longest!r}; it must be at least 1, or None")
        if self.dtype not in ("int32", "int64"):
            raise ValueError(f'dtype is {self.dtype!r}; it must be "int32" or "int64"')

    @property
    def fields(self) -> Mapping[str, Field | None]:
        """See `Operation.fields`."""
        return {"": self._field, "_length": LENGTH}

    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """See `Operation.decode`; all texts of a batch are encoded at once, outside of Python's lock."""
        texts = [bytes(content).decode() for content in contents]
        encoded = self._open().encode_batch_fast(texts, add_special_tokens=self.special)
        lengths = allocate_rows(LENGTH, len(texts), allocate)
        lengths[:] = [len(encoding) for encoding in encoded]
        field = self._field
        if field is None:
            return {"": [np.array(encoding.ids, self.dtype) for encoding in encoded], "_length": lengths}
        rows = allocate_rows(field, len(texts), allocate)
        for row, encoding in zip(rows, encoded, strict=True):
            row[: len(encoding)] = encoding.ids
            row[len(encoding) :] = field.padding
        return {"": rows, "_length": lengths}

    def describe(self) -> dict[str, Any]:
        """See `Operation.describe`; the tokenizer by its hash."""
        described = {"op": "Tokens", "tokenizer": self._json.sha256, "longest": self.longest, "dtype": self.dtype}
        return {**described, "special": self.special, "version": self.version}

    @property
    def _json(self) -> TokenizerJson:
        assert isinstance(self.tokenizer, TokenizerJson)
        return self.tokenizer

    @property
    def _field(self) -> Field | None:
        """The dtype and shape of a row, or None where texts are a list."""
        if self.longest is None:
            return None
        return Field(self.dtype, (self.longest,), "T", padding=_find_padding(self._json.text))

    def _open(self) -> "Tokenizer":
        return _open_tokenizer(self._json.text, self.longest)


def _read_tokenizer(tokenizer: Any) -> TokenizerJson:
    """Return the JSON of a tokenizer that was given in any form.

    Raises:
        FileNotFoundError, TypeError, ValueError: see `Tokens`.
    """
    if isinstance(tokenizer, TokenizerJson):
        return tokenizer
    if not isinstance(tokenizer, str | Path):
        if not hasattr(tokenizer, "to_str"):
            raise TypeError(
                f"tokenizer is {tokenizer!r:.80}; it must be a tokenizers.Tokenizer, such as the backend_tokenizer of "
                "one of transformers, or the path of its JSON"
            )
        return TokenizerJson(tokenizer.to_str())
    path = Path(tokenizer)
    path = path / FILE if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
        if not isinstance(json.loads(text), dict):
            raise ValueError("it is not a JSON object")
    except ValueError as error:
        raise ValueError(
            f"{path} is not the JSON of a tokenizer, as tokenizers.Tokenizer.save writes it: {error}"
        ) from error
    return TokenizerJson(text)


@lru_cache(maxsize=8)
def _open_tokenizer(text: str, longest: int | None) -> "Tokenizer":
    """Return the tokenizer that cuts texts at `longest` tokens; once in a process."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "text is turned into tokens by tokenizers, which is not installed: pip install tokenizers, or pip install "
            "shardwright[text]",
            name="tokenizers",
        ) from error
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if longest is not None:
        tokenizer.enable_truncation(longest)
    return tokenizer


@lru_cache(maxsize=8)
def _find_padding(text: str) -> int:
    """Return the id that the tokenizer's file pads with, or 0."""
    padding = json.loads(text).get("padding") or {}
    return int(padding.get("pad_id", 0))
