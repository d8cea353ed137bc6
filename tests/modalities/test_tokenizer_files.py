"""Texts are left to somebody else's `tokenizer.json`: its ids, its marks, its rules for cases, also where texts are
cut."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pipeline.errors import InputError, ParamsError
from pipeline.modalities.modality import Encoded, MediaItem, TokenTally
from pipeline.modalities.text.modality import TEXT, extract_text
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.tokenizer_document import find_unknown, list_marks, list_tokens
from tests.support.factory_extract import extract_things, make_params, make_things, read_all
from tests.tables.test_documents import build_validator

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "##s", "sat", "the"]


def make_tokenizer(kind: str = "WordPiece") -> Tokenizer:
    """A small tokenizer as BERT's, or one of another kind."""
    ids = {word: number for number, word in enumerate(WORDS)}
    build: Mapping[str, Callable[[], Any]] = {
        "WordPiece": lambda: models.WordPiece(ids, unk_token="[UNK]"),
        "WordLevel": lambda: models.WordLevel(ids, unk_token="[UNK]"),
        "Unigram": lambda: models.Unigram([(word, -float(number)) for word, number in ids.items()], unk_id=1),
    }
    tokenizer = Tokenizer(build[kind]())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def save(folder: Path, tokenizer: Tokenizer, **changes: Any) -> TextFeatures:
    path = folder / "theirs.json"
    path.write_text(json.dumps(json.loads(tokenizer.to_str()) | changes), encoding="utf-8")
    frozen = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return TextFeatures.model_validate({"tokenizer": "file", "length": 6, "frozen": frozen})


def read_frozen(params: TextFeatures) -> Any:
    assert TEXT.learning is not None
    return TEXT.learning.read_frozen(params)


@pytest.mark.parametrize("kind", ["WordPiece", "WordLevel", "Unigram"])
def test_ids_and_marks_are_those_of_the_file(kind: str, tmp_path: Path) -> None:
    theirs = make_tokenizer(kind)
    theirs.enable_truncation(6)
    params = save(tmp_path, theirs)
    document = read_frozen(params)
    for text in ["The CATS sat", "", "a dog", "the cat sat the cat sat the cat"]:
        arrays = extract_text(MediaItem(text.encode(), "text/plain"), params, document)
        assert arrays["tokens"][: arrays["tokens_length"]].tolist() == theirs.encode(text).ids
    assert list_tokens(document) == WORDS
    assert (find_unknown(document), list_marks(document)) == (1, (0, 1, 2, 3))
    build_validator("tokenizer").validate(document)


def test_what_is_cut_and_unknown_is_counted(tmp_path: Path) -> None:
    params = save(tmp_path, make_tokenizer())
    document, learning = read_frozen(params), TEXT.learning
    assert learning is not None
    cut, unknown = (learning.encode(text, params, document) for text in ("the cat sat the cat", "the dog"))
    assert isinstance(cut, Encoded)
    assert isinstance(unknown, Encoded)
    assert (cut.tally, unknown.tally) == (TokenTally(1, True, 6, 0), TokenTally(1, False, 4, 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, r"theirs\.json, which is no tokenizer\.json: it is no tokenizer\.json"),
        ({"model": {"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}}, "it has a dropout of 0.1"),
        ({"model": {"type": "WordPiece", "vocab": 3}}, "tokenizers says: "),
    ],
)
def test_what_is_no_tokenizer_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_frozen(save(tmp_path, make_tokenizer(), **changes))


def test_params_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"extract\.text\.frozen is null; it must name a tokenizer\.json"):
        make_params(text__tokenizer="file")
    params = save(tmp_path, make_tokenizer()).model_copy(update={"length": 2})
    with pytest.raises(InputError, match=r"extract\.text\.length is 2; it must be over 2, the marks of "):
        read_frozen(params)


@pytest.mark.slow
def test_shards_hold_them(tmp_path: Path) -> None:
    theirs = make_tokenizer()
    theirs.model = models.WordPiece({word: n for n, word in enumerate([*WORDS, *"0123456789"])}, unk_token="[UNK]")
    params = save(tmp_path, theirs)
    changes = {f"text__{name}": value for name, value in params.model_dump(include={"tokenizer", "frozen"}).items()}
    root = extract_things(tmp_path / "one", make_things(6), make_params(**changes, text__min_known=0))
    for sample in read_all(root).values():
        assert sample["tokens"][0] == 2
        assert sample["tokens"][sample["tokens_length"] - 1] == 3
