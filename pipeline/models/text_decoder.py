"""Find what turns the token ids of a dataset back into texts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError, ParamsError
from pipeline.modalities.text.decode import make_decoder
from pipeline.models.inputs import has_words, read_vocabulary_file
from shardwright.format.canonical_json import decode_json
from shardwright.format.manifest import Manifest

if TYPE_CHECKING:
    from pipeline.modalities.text.decode import Decode


def read_decoder(root: Path, manifest: Manifest) -> "Decode | None":
    """Return what turns token ids of the dataset in `root` into a text; None where it has no vocabulary.

    Raises:
        InputError: the file of the vocabulary is missing or damaged, or the dataset's tokenizer is a plugin that is not
            here.
    """
    if manifest.vocabulary is None:
        return None
    learned = decode_json(read_vocabulary_file(root, manifest.vocabulary))
    params: Mapping[str, Any] = (manifest.extract or {}).get("params", {}).get("text", {})
    tokenizer = params.get("tokenizer", "words" if has_words(learned) else "bpe")
    try:
        return make_decoder(tokenizer, learned)
    except ParamsError as error:
        raise InputError(
            f"extract.text.tokenizer of {root} is {tokenizer}, which cannot turn its tokens back into texts: {error}"
        ) from error
