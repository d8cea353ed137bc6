"""Find what turns the token ids of a dataset back into texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import InputError, ParamsError
from pipeline.modalities.text.decode import Decode, make_decoder
from pipeline.models.inputs import has_words, read_token_document
from shardwright import read_manifest


@dataclass(frozen=True)
class DatasetDecoder:
    """Turns token ids of the dataset in `root` into a text. What it takes is loaded for the first text: most tasks need
    none."""

    root: Path

    def __call__(self, ids: Sequence[int]) -> str:
        """Return a text that has these tokens.

        Raises:
            InputError: see `load`.
        """
        return self._decode(ids)

    def load(self) -> Decode:
        """Return what turns ids into texts.

        Raises:
            InputError: the dataset has no vocabulary, its file is missing or damaged, or the dataset's tokenizer is a
                plugin that is not here.
        """
        return self._decode

    @cached_property
    def _decode(self) -> Decode:
        manifest = read_manifest(self.root)
        learned = read_token_document(self.root, manifest)
        if learned is None:
            raise InputError(f"{self.root} has no vocabulary to turn token ids into texts: run `dvc repro` again")
        params: Mapping[str, Any] = (manifest.extract or {}).get("params", {}).get("text", {})
        tokenizer = params.get("tokenizer", "words" if has_words(learned) else "bpe")
        try:
            return make_decoder(tokenizer, learned)
        except ParamsError as error:
            raise InputError(
                f"extract.text.tokenizer of {self.root} is {tokenizer}, which cannot turn its tokens back into texts: "
                f"{error}"
            ) from error
