"""Byte pairs: learned exactly and deterministically; ids equal to those of `tokenizers`; every text is decoded
whole."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.errors import InputError, ParamsError
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.byte_pairs import ALPHABET, join_pair, learn_byte_pairs, learn_merges
from pipeline.modalities.text.modality import TEXT, extract_text
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.placeholders import PLACEHOLDERS
from pipeline.modalities.text.tokenizer_file import MAX_PIECE, count_pieces, encode_text, load_tokenizer_file
from pipeline.models.checkpoint import load_model
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.step import train
from shardwright.format.canonical_json import encode_canonical
from tests.extract.test_incremental import list_outputs, read_counts
from tests.support.factory_extract import (
    ROOT,
    draw_item,
    extract_things,
    make_params,
    make_things,
    read_all,
    run_extract,
    write_corpus,
)
from tests.tables.test_documents import build_validator
from tests.train import test_train

pytestmark = pytest.mark.slow

TOKENIZER_NAME = "tokenizer.json"
FEATURES = TextFeatures(
    tokenizer="bpe", language="en", fallback=None, lowercase=False, length=400, vocabulary=300, min_count=1
)
TEXTS = ["the cat sat on the mat", "the dog's 12 cats: [EMAIL]", "ein Kätzchen 😀, call [PHONE] or [EMAIL]!"]
CORPORA = st.dictionaries(st.text("abc", min_size=1, max_size=12), st.integers(1, 4), min_size=1, max_size=12)


def learn(texts: list[str], params: TextFeatures = FEATURES) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(count_pieces(text, params))
    return learn_byte_pairs(counts, params)


LEARNED = learn(TEXTS)


# What is learned


def learn_by_recounting(counts: dict[str, int], tokens: int, min_count: int) -> list[tuple[str, str]]:
    """The definition, as slow as it is."""
    known = list(ALPHABET)
    pieces = [([known.index(char) for char in piece], count) for piece, count in counts.items()]
    merges = []
    while len(known) < len(ALPHABET) + tokens:
        pairs: Counter[tuple[int, int]] = Counter()
        for piece, count in pieces:
            for pair in pairwise(piece):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < min_count:
            break
        left, right = known[best[0]], known[best[1]]
        if left + right not in known:
            known.append(left + right)
        merges.append((left, right))
        pieces = [(join_pair(piece, best, known.index(left + right)), count) for piece, count in pieces]
    return merges


@settings(max_examples=150)
@given(CORPORA, st.integers(0, 30), st.integers(1, 3))
def test_merges_are_those_of_the_definition(counts: dict[str, int], tokens: int, min_count: int) -> None:
    known, merges = learn_merges(counts, tokens, min_count)
    assert merges == learn_by_recounting(counts, tokens, min_count)
    assert len(known) == len(set(known)) <= len(ALPHABET) + tokens


@settings(max_examples=150)
@given(CORPORA, st.integers(1, 3))
def test_merges_are_those_of_the_trainer_of_tokenizers(counts: dict[str, int], min_count: int) -> None:
    _, merges = learn_merges(counts, 40, min_count)
    assume(len({left + right for left, right in merges}) == len(merges))  # else its own depend on a hash map's order
    trainer = trainers.BpeTrainer(
        vocab_size=296, min_frequency=min_count, show_progress=False, initial_alphabet=list(ALPHABET)
    )
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    theirs.train_from_iterator([piece for piece in counts for _ in range(counts[piece])], trainer)
    assert [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]] == merges


@settings(max_examples=50)
@given(CORPORA, st.randoms(use_true_random=False))
def test_the_order_of_counting_changes_nothing(counts: dict[str, int], rng: random.Random) -> None:
    shuffled = list(counts.items())
    rng.shuffle(shuffled)
    assert learn_byte_pairs(dict(shuffled), FEATURES) == learn_byte_pairs(counts, FEATURES)


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_hash_seed_changes_nothing(seed: str) -> None:
    program = (
        "import sys; from pipeline.modalities.text.byte_pairs import *\n"
        "from pipeline.modalities.text.tokenizer_file import *\n"
        "params = TextFeatures.model_validate_json(sys.argv[1])\n"
        "counts = sum((count_pieces(text, params) for text in sys.argv[2:]), Counter())\n"
        "sys.stdout.buffer.write(encode_canonical(learn_byte_pairs(counts, params)))"
    )
    command = [sys.executable, "-c", program, FEATURES.model_dump_json(), *TEXTS]
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout == encode_canonical(LEARNED)


def test_the_alphabet_is_that_of_tokenizers() -> None:
    assert sorted(pre_tokenizers.ByteLevel.alphabet()) == list(ALPHABET)


def test_a_text_without_words_is_learned_from_in_time() -> None:
    started = time.process_time()
    learned = learn(["a" * 300_000 + " " + "QmFzZTY0" * 30_000], FEATURES.model_copy(update={"vocabulary": 4000}))
    assert time.process_time() - started < 5  # 0.5 s
    assert max(len(token) for token in learned["model"]["vocab"]) <= MAX_PIECE


def test_numbers_begin_with_padding_unknown_placeholders_and_bytes() -> None:
    ids = LEARNED["model"]["vocab"]
    ordered = sorted(ids, key=ids.__getitem__)
    special = 2 + len(PLACEHOLDERS)
    assert ordered[:special] == ["<pad>", "<unk>", *PLACEHOLDERS]
    assert ordered[special : special + 256] == list(ALPHABET)
    assert len(ordered) <= FEATURES.vocabulary + special
    assert sorted(ids.values()) == list(range(len(ids)))


# Texts and ids


@pytest.fixture(scope="module")
def from_file(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """As other people load it."""
    path = tmp_path_factory.mktemp("tokenizer") / TOKENIZER_NAME
    path.write_bytes(encode_canonical(LEARNED, indent=1))
    return Tokenizer.from_file(str(path))


PARTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from([*PLACEHOLDERS, " ", "\n\n", "<pad>", "<unk>", "[EMAIL", "the cat", "Ġ", "👩‍🚀", "é", "[email]"]),
)


@settings(max_examples=300)
@given(text=st.lists(PARTS, max_size=6).map("".join))
def test_any_text_comes_back_and_both_ways_give_its_ids(text: str, from_file: Tokenizer) -> None:
    ids = from_file.encode(text).ids
    assert from_file.decode(ids) == text
    assert [ids.count(2 + place) for place in range(len(PLACEHOLDERS))] == [text.count(name) for name in PLACEHOLDERS]
    assert not {0, 1} & set(ids)
    arrays = encode_text(text, FEATURES, LEARNED).arrays
    kept = ids[: FEATURES.length]
    assert arrays["tokens_length"] == len(kept)
    assert arrays["tokens"].tolist() == kept + [0] * (FEATURES.length - len(kept))


def test_placeholders_survive_lower_case() -> None:
    params = FEATURES.model_copy(update={"lowercase": True})
    item = MediaItem(b"Ask [EMAIL] or [PHONE] NOW", "text/plain")
    arrays = extract_text(item, params, LEARNED)
    ids = arrays["tokens"][: arrays["tokens_length"]].tolist()
    assert load_tokenizer_file(LEARNED).decode(ids) == "ask [EMAIL] or [PHONE] now"


def test_no_thread_is_started() -> None:
    before = set(Path("/proc/self/task").iterdir())
    for text in TEXTS * 20:
        count_pieces(text, FEATURES)
        encode_text(text, FEATURES, LEARNED)
    assert set(Path("/proc/self/task").iterdir()) <= before


# Through the stages


BPE = {"text__tokenizer": "bpe", "text__vocabulary": 270, "text__length": 12}


def test_shards_hold_the_ids_of_the_file_beside_them(tmp_path: Path) -> None:
    root = extract_things(tmp_path / "one", make_things(12), make_params(**BPE))
    tokenizer = Tokenizer.from_file(str(root / TOKENIZER_NAME))
    for key, sample in read_all(root).items():
        ids = tokenizer.encode(draw_item(key, "text").decode()).ids[:12]
        assert sample["tokens"].tolist() == ids + [0] * (12 - len(ids))
        assert sample["tokens_length"] == len(ids)
    extract_things(tmp_path / "two", make_things(12)[::-1], make_params(**BPE), workers=2)
    assert list_outputs(tmp_path / "two") == list_outputs(tmp_path / "one")


def test_another_size_parses_nothing_and_a_frozen_file_is_used_as_it_is(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(12))
    run_extract(tmp_path, make_params(**BPE))
    outputs = list_outputs(tmp_path)
    shutil.copy(tmp_path / "data" / SHARDS_FOLDER / TOKENIZER_NAME, tmp_path / "frozen.json")
    assert read_counts(run_extract(tmp_path, make_params(**BPE | {"text__vocabulary": 280}))) == (36, 0)
    assert read_counts(run_extract(tmp_path, make_params(**BPE, text__dtype="uint16"))) == (36, 0)
    content = (tmp_path / "frozen.json").read_bytes()
    frozen = {"path": str(tmp_path / "frozen.json"), "sha256": hashlib.sha256(content).hexdigest()}
    outcome = run_extract(tmp_path, make_params(**BPE, text__frozen=frozen))
    assert read_counts(outcome) == (36, 0)
    assert (tmp_path / "data" / SHARDS_FOLDER / TOKENIZER_NAME).read_bytes() == content
    changed = {path for path, sha in list_outputs(tmp_path).items() if outputs[path] != sha}
    assert changed == {"5_shards/dataset.json", "5_extract/extract_record.json"}, "which say what was frozen"


def test_a_model_is_trained_and_evaluated_on_them(tmp_path: Path) -> None:
    extract_things(tmp_path, make_things(12), make_params(**BPE, text__dtype="uint16"))
    workspace = Workspace(tmp_path / "data", tmp_path / "data", tmp_path / "cache", test_train.RUN)
    train(test_train.make_params(epochs=1), workspace)
    evaluate(EvaluateParams(split="test", batch_size=8, worst=2), workspace)
    learned = tmp_path / "data" / SHARDS_FOLDER / TOKENIZER_NAME
    assert (tmp_path / "data" / MODEL_FOLDER / TOKENIZER_NAME).read_bytes() == learned.read_bytes()
    _, record = load_model(tmp_path / "data" / MODEL_FOLDER)
    assert record.weights[TOKENIZER_NAME] == hashlib.sha256(learned.read_bytes()).hexdigest()
    ids = json.loads(learned.read_bytes())["model"]["vocab"]
    assert list(record.vocabulary) == sorted(ids, key=ids.__getitem__)
    validator = build_validator("tokenizer")
    validator.validate(json.loads(learned.read_bytes()))
    assert not validator.is_valid(json.loads(learned.read_bytes()) | {"unknown": 1})


# The tokenizers of others


def make_foreign(folder: Path, **changes: Any) -> dict[str, Any]:
    """Trained and saved as people do, with marks of the start, a cut, and ids that do not begin with padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280, show_progress=False, initial_alphabet=list(ALPHABET), special_tokens=["<|endoftext|>"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.enable_truncation(3)
    document: dict[str, Any] = json.loads(tokenizer.to_str()) | changes
    (folder / "foreign.json").write_text(json.dumps(document))
    return document


def freeze(path: Path, **more: Any) -> TextFeatures:
    frozen = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return TextFeatures.model_validate({**FEATURES.model_dump(), "frozen": frozen, **more})


def read_frozen(params: TextFeatures) -> Any:
    assert TEXT.learning is not None
    return TEXT.learning.read_frozen(params)


def test_a_tokenizer_of_others_gives_its_own_ids_uncut(tmp_path: Path) -> None:
    make_foreign(tmp_path)
    learned = read_frozen(freeze(tmp_path / "foreign.json"))
    theirs = Tokenizer.from_file(str(tmp_path / "foreign.json"))
    theirs.no_truncation()
    for text in [*TEXTS, "2026 <|endoftext|>"]:
        arrays = encode_text(text, FEATURES, learned).arrays
        assert arrays["tokens"][: arrays["tokens_length"]].tolist() == theirs.encode(text).ids


def test_an_old_file_that_does_not_name_its_type_is_read(tmp_path: Path) -> None:
    model = make_foreign(tmp_path)["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    make_foreign(tmp_path, model={k: v for k, v in model.items() if k != "type"} | {"merges": merges})
    assert read_frozen(freeze(tmp_path / "foreign.json"))["model"] == model


WORD_PIECES = {
    "type": "WordPiece",
    "unk_token": "a",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 9,
    "vocab": {"a": 0},
}


def without_a_byte(model: dict[str, Any]) -> dict[str, Any]:
    vocab = {token: number for token, number in model["vocab"].items() if token != "Ā"}
    return model | {"vocab": vocab, "merges": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"model": WORD_PIECES}, "its model is of the type 'WordPiece'"),
        (lambda d: {"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}, "its model is of the type 'Unigram'"),
        (lambda d: {"model": None}, "it is no tokenizer.json"),
        (lambda d: {"pre_tokenizer": {"type": "Whitespace"}}, "not both ByteLevel"),
        (lambda d: {"decoder": None}, "not both ByteLevel"),
        (lambda d: {"model": d["model"] | {"dropout": 0.1}}, "has a dropout of 0.1"),
        (lambda d: {"model": without_a_byte(d["model"])}, "has no token for the byte 0x00"),
        (lambda d: {"model": d["model"] | {"merges": [["x", "nonsense"]]}}, "tokenizers says: "),
    ],
)
def test_what_is_no_byte_level_bpe_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    make_foreign(tmp_path, **change(make_foreign(tmp_path)))
    with pytest.raises(
        InputError, match=rf"extract\.text\.frozen\.path is .*foreign\.json, which is no .*: .*{message}"
    ):
        read_frozen(freeze(tmp_path / "foreign.json"))


def test_words_and_byte_pairs_are_not_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text('{"words": ["<pad>", "<unk>", "a"]}')
    with pytest.raises(InputError, match=r"no tokenizer\.json with a byte-level BPE: it is no tokenizer"):
        read_frozen(freeze(tmp_path / "words.json"))
    (tmp_path / "pairs.json").write_bytes(encode_canonical(LEARNED))
    with pytest.raises(InputError, match=r"is no vocabulary\.json"):
        read_frozen(freeze(tmp_path / "pairs.json", tokenizer="words"))


# Params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tokenizer": "bpe", "model": "m", "annotate": ["pos"]},
            "annotate is .*; it must be empty, as tokenizer is bpe",
        ),
        ({"tokenizer": "bpe", "vocabulary": 255}, "vocabulary is 255; it must be at least 256, as tokenizer is bpe"),
        (
            {"dtype": "uint16", "vocabulary": 65_533},
            "vocabulary is 65533; it must be at most 65532",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=rf"extract\.text\.{message}"):
        make_params(**{f"text__{name}": value for name, value in changes.items()})


def test_ids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    words = ["<pad>", "<unk>", *(f"word{number}" for number in range(2**16 - 2))]
    (tmp_path / "words.json").write_text(json.dumps({"words": words}))
    assert read_frozen(freeze(tmp_path / "words.json", tokenizer="words", dtype="uint16"))["words"] == words
    (tmp_path / "words.json").write_text(json.dumps({"words": [*words, "more"]}))
    with pytest.raises(InputError, match=r"extract\.text\.dtype is uint16; .* ids up to 65536"):
        read_frozen(freeze(tmp_path / "words.json", tokenizer="words", dtype="uint16"))


def test_uint16_holds_the_same_ids(tmp_path: Path) -> None:
    wide = read_all(extract_things(tmp_path / "wide", make_things(8)))
    narrow = read_all(extract_things(tmp_path / "narrow", make_things(8), make_params(text__dtype="uint16")))
    for key, sample in wide.items():
        assert narrow[key]["tokens"].dtype == np.uint16
        np.testing.assert_array_equal(narrow[key]["tokens"], sample["tokens"])
