"""Text as ids of a tokenizer: those of the tokenizer itself, cut and padded as declared."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from shardwright import DamageError, Loader, RaggedArray, ShardDataset, StateError, ops
from shardwright.datasets.base import SampleSource
from tests.support.webdataset_tars import user_cache, write_shards

__all__ = ["user_cache"]

WORDS = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "ein", "kleiner", "Café", "an", "der", "Ecke"]
TEXTS = ["ein kleiner Café", "", "ein an der Ecke an der Ecke", "Ecke", "unbekannt der"]


def make_tokenizer(ends: bool = False, padding: int | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    if padding is not None:
        tokenizer.enable_padding(pad_id=padding, pad_token=WORDS[padding])
        tokenizer.enable_truncation(2)  # both are of the tokenizer's file, and do not apply
    return tokenizer


@pytest.fixture
def data(tmp_path: Path) -> SampleSource:
    samples = [(f"{number}", {"txt": text.encode(), "cls": b"1"}) for number, text in enumerate(TEXTS)]
    write_shards(tmp_path / "set", [samples[:3], samples[3:]])
    return ShardDataset.from_webdataset(tmp_path / "set")


def test_ids_are_those_of_the_tokenizer(data: SampleSource) -> None:
    tokenizer = make_tokenizer(ends=True)
    batch = data.decode(txt=ops.Tokens(tokenizer, 16)).gather(range(5))
    expected = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS)]
    assert batch["txt"].dtype == np.int64
    assert batch["txt"].shape == (5, 16)
    assert batch["txt_length"].tolist() == [len(ids) for ids in expected]
    assert [row[:length].tolist() for row, length in zip(batch["txt"], batch["txt_length"], strict=True)] == expected
    bare = data.decode(txt=ops.Tokens(tokenizer, 16, "int32", special=False)).gather([3, 1])
    assert bare["txt"].dtype == np.int32
    assert bare["txt_length"].tolist() == [1, 0]


def test_long_texts_are_cut_before_the_end_mark_and_short_ones_padded(data: SampleSource) -> None:
    batch = data.decode(txt=ops.Tokens(make_tokenizer(ends=True, padding=1), 4)).gather([2, 3])
    assert batch["txt"].tolist() == [[2, 4, 7, 3], [2, 9, 3, 1]]
    assert batch["txt_length"].tolist() == [4, 3]


@pytest.mark.parametrize("longest", [16, None])
def test_layouts_of_tokens(data: SampleSource, longest: int | None) -> None:
    tokens = ops.Tokens(make_tokenizer(), longest)
    padded, ragged = (data.decode(txt=layout).gather([0, 1, 3]) for layout in (ops.Pad(tokens), ops.Ragged(tokens)))
    assert padded["txt"].tolist() == [[4, 5, 6], [0, 0, 0], [9, 0, 0]]
    assert isinstance(ragged["txt"], RaggedArray)
    assert ragged["txt"].values.tolist() == [4, 5, 6, 9]
    assert ragged["txt"].offsets.tolist() == [0, 3, 3, 4]
    assert padded["txt_length"].tolist() == ragged["txt_length"].tolist() == [3, 0, 1]


@pytest.mark.parametrize("longest", [16, None])
def test_tokens_are_packed_and_put_into_buckets(data: SampleSource, longest: int | None) -> None:
    decoded = data.decode(txt=ops.Tokens(make_tokenizer(), longest))
    rows = decoded.pack("txt", 8)
    filled = [
        token for batch in Loader(rows, 1, shuffle=True) for token in batch["txt"][batch["document"] > 0].tolist()
    ]
    assert sorted(filled) == sorted(
        token for encoding in make_tokenizer().encode_batch(TEXTS) for token in encoding.ids
    )
    assert len(rows) == 2
    loader = Loader(
        data.decode(txt=ops.Pad(ops.Tokens(make_tokenizer(), longest))), budget=8, by="txt_length", shuffle=True
    )
    assert sorted(key for batch in loader for key in batch["key"]) == list("01234")
    assert all(batch["txt"].numel() <= 8 for batch in loader)


def test_a_tokenizer_in_any_form_is_the_same_dataset(data: SampleSource, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(ends=True)
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    views = [data.decode(txt=ops.Tokens(form)) for form in (tokenizer, file, str(file), tmp_path)]
    views.append(pickle.loads(pickle.dumps(views[0])))
    assert len({view.hash for view in views}) == 1
    assert np.array_equal(views[0].gather([2])["txt"], views[-1].gather([2])["txt"])
    assert ops.Tokens(tokenizer).describe()["tokenizer"] == ops.Tokens(file).describe()["tokenizer"]
    others: list[dict[str, Any]] = [
        {"longest": 8},
        {"dtype": "int32"},
        {"special": False},
        {"tokenizer": make_tokenizer()},
    ]
    state = Loader(views[0], 2, shuffle=True).state_dict()
    for other in others:
        view = data.decode(txt=ops.Tokens(**{"tokenizer": tokenizer, **other}))
        with pytest.raises(StateError, match="dataset"):
            Loader(view, 2, shuffle=True).load_state_dict(state)


def test_a_loader_with_processes_gives_the_same_tokens(data: SampleSource) -> None:
    view = data.decode(txt=ops.Tokens(make_tokenizer(), 8))
    with Loader(view, 2, shuffle=True, processes=1) as loader, Loader(view, 2, shuffle=True, threads=0) as expected:
        assert [batch["txt"].tolist() for batch in loader] == [batch["txt"].tolist() for batch in expected]


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "set", [[("a", {"txt": b"ein"}), ("b", {"txt": b"\xff"})]])
    data = ShardDataset.from_webdataset(tmp_path / "set").decode(txt=ops.Tokens(make_tokenizer()))
    with pytest.raises(DamageError, match=r"'b', txt at byte \d+: .*utf-8"):
        data.gather([0, 1])


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"must be a tokenizers\.Tokenizer"):
        ops.Tokens(len)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        ops.Tokens(tmp_path / "missing.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json is not the JSON of a tokenizer"):
        ops.Tokens(tmp_path / "broken.json")
    for wrong in ({"longest": 0}, {"dtype": "float32"}):
        with pytest.raises(ValueError, match="must be"):
            ops.Tokens(make_tokenizer(), **wrong)
