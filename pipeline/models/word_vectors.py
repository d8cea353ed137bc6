"""Give the embeddings of tokens the vectors that a file has for them.

A file is text as GloVe and fastText write it, a word and its numbers a line, with a first line of counts or without; or
`.npz` with the arrays `words` (n,), strings, and `vectors` (n, numbers). `spacy:` and the name of an installed pipeline
of spaCy, or its folder, mean the table in its `vocab/`.
"""

import importlib.util
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import InputError

Vector = NDArray[np.float32]

SETTING = "train.encoders.text.vectors"

SPACY = "spacy:"
TABLE = ("vectors", "key2row", "strings.json")
"""Files of a table in the `vocab/` of a pipeline of spaCy."""


def list_vector_files(named: str) -> list[Path]:
    """Return the files that a value of the setting means.

    Raises:
        InputError: a pipeline of spaCy is not installed, or has no table of vectors.
    """
    if not named.startswith(SPACY):
        return [Path(named)]
    base = Path(named.removeprefix(SPACY))
    if not base.is_dir():
        spec = importlib.util.find_spec(base.name) if str(base).isidentifier() else None
        if spec is None or spec.origin is None:
            raise InputError(f"{SETTING} is {named}; it must name an installed package or a folder: pip install {base}")
        base = Path(spec.origin).parent
    for folder in (base / "vocab", *sorted(base.glob("*/vocab"))):  # a package has a folder with its release
        if all((folder / name).is_file() for name in TABLE):
            return [folder / name for name in TABLE]
    raise InputError(f"{SETTING} is {named}, which has no table of vectors; en_core_web_md has one")


def load_word_vectors(words: nn.Embedding, vocabulary: Sequence[str], path: str) -> str:
    """Give each token its vector, or that of its lower-case form, and return of how many there is one; the others stay
    as they are.

    Raises:
        InputError: the file cannot be read, has vectors of another length than the embeddings, or of no token.
    """
    found = read_vectors(path, {*vocabulary, *(token.lower() for token in vocabulary)} - {""})
    rows = {
        number: found[name]
        for number, token in enumerate(vocabulary)
        if (name := token if token in found else token.lower()) in found
    }
    if not rows:
        raise InputError(
            f"{SETTING} is {path}, which has a vector of none of the {len(vocabulary)} tokens of the dataset"
        )
    length = len(next(iter(rows.values())))
    if length != words.embedding_dim:
        raise InputError(
            f"{SETTING} is {path}, with vectors of {length} numbers; set train.encoders.text.channels, which is "
            f"{words.embedding_dim}, to {length}"
        )
    with torch.no_grad():
        words.weight[list(rows)] = torch.from_numpy(np.stack(list(rows.values())))
    return f"vectors of {len(rows)} of {len(vocabulary)} tokens"


def read_vectors(named: str, wanted: set[str]) -> Mapping[str, Vector]:
    """Return the vectors of the `wanted` words that the file has; of a word that is there twice the first.

    Raises:
        InputError: the file cannot be read; the message has the line.
    """
    found: dict[str, Vector] = {}
    path, *table = list_vector_files(named)
    try:
        if table:
            return dict(_read_table(path.parent, wanted))
        for word, vector in _read_arrays(path) if path.suffix == ".npz" else _read_lines(path, wanted):
            if word in wanted:
                found.setdefault(word, vector)
    except OSError as error:
        raise InputError(f"{SETTING} is {path}, which cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{SETTING} is {path}, which has no word vectors: {error}") from None
    return found


def _read_table(folder: Path, wanted: set[str]) -> Iterator[tuple[str, Vector]]:
    from spacy.vocab import Vocab

    vocab = Vocab().from_disk(folder)
    for word in sorted(wanted):
        if vocab.has_vector(word):
            yield word, np.asarray(vocab.get_vector(word), np.float32)


def _read_arrays(path: Path) -> Iterator[tuple[str, Vector]]:
    with np.load(path, allow_pickle=False) as arrays:
        words, vectors = arrays["words"].tolist(), np.asarray(arrays["vectors"], np.float32)
    if vectors.ndim != 2 or len(words) != len(vectors):
        raise ValueError(f"`words` has {len(words)} entries, `vectors` the shape {vectors.shape}")
    return zip(words, vectors, strict=True)


def _read_lines(path: Path, wanted: set[str]) -> Iterator[tuple[str, Vector]]:
    length = None
    with path.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            word, _, rest = line.partition(" ")
            if number == 1 and " " not in rest.strip():
                continue  # how many words and numbers there are
            if length is None:
                length = len(rest.split())
            if word not in wanted:
                continue
            numbers = rest.split()
            if len(numbers) > length:
                continue  # a word with spaces, which no token is
            if len(numbers) < length:
                raise ValueError(f"line {number} has {len(numbers)} numbers, others have {length}")
            try:
                yield word, np.array(numbers, np.float32)
            except ValueError:
                raise ValueError(f"line {number} is not a word and its numbers") from None
