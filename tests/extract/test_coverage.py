"""The summary says what the shards lack of the items, the same however they are built."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.extract.build_dataset import DatasetBuild
from pipeline.modalities.modality import Encoded, MediaItem, TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.modalities.text.coverage import review_coverage
from pipeline.modalities.text.join import join_parsed
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text
from pipeline.modalities.text.vocabulary import tally_counts
from tests.support.factory_extract import Thing, make_params, make_things, run_extract, write_corpus

LEARNING = MODALITIES["text"].learning
WORDS = ["red", "green", "blue", "grey"]


@settings(max_examples=50)
@given(st.lists(st.lists(st.sampled_from([*WORDS, "unseen"]), max_size=6), min_size=1, max_size=3), st.integers(1, 8))
def test_tallies_are_those_of_a_count_by_hand(texts: list[list[str]], length: int) -> None:
    assert LEARNING is not None
    params = TextFeatures(language="xx", length=length)
    parsed = [parse_text(MediaItem(" ".join(words).encode(), "text/plain"), params) for words in texts]
    encoded = LEARNING.encode(join_parsed(parsed, " ", params), params, {"words": ["<pad>", "<unk>", *WORDS]})
    words = [word for each in texts for word in each]
    kept = words[:length]
    assert encoded.tally == TokenTally(1, len(words) > length, len(kept), kept.count("unseen"))  # type: ignore[union-attr]


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 40), st.floats(0, 1))
def test_a_vocabulary_that_knows_too_little_stops_the_run(known: int, unknown: int, least: float) -> None:
    params, training = TextFeatures(min_known=least), TokenTally(3, 1, known + unknown, unknown)
    if known / (known + unknown) < least:
        with pytest.raises(InputError, match=r"extract\.text\.min_known is .* of 3 texts"):
            review_coverage(training, training, params)
    else:
        assert review_coverage(training, training, params).endswith("1 of 3 texts cut at extract.text.length 32")


def list_notes(folder: Path, things: Sequence[Thing], shards: int, workers: int = 0) -> list[str]:
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_corpus(folder / "data", things)
    notes = run_extract(folder, make_params(shards=shards, text__min_count=3, audio__seconds=0.4), workers).notes
    return [note for note in notes if note.startswith(("text:", "audio:"))]


@pytest.mark.slow
def test_the_notes_do_not_depend_on_how_shards_are_built(tmp_path: Path) -> None:
    things = [
        *make_things(11),
        Thing("rare", contents={"text": b"unheard words"}),
        Thing("none", modalities=("image",)),
    ]
    columns = {"frames": 4000, "sample_rate": 8000}
    things += [
        Thing("long", spans={"audio": (0.05, None)}, columns=columns),
        Thing("short", spans={"audio": (0.1, 0.3)}),
    ]
    first = list_notes(tmp_path, things, 2)
    assert first == [
        "text: 3.0% of 67 tokens unknown; 13 of 14 texts cut at extract.text.length 5",
        "audio: 1 of 14 items longer than extract.audio.seconds 0.4",
    ]
    assert [list_notes(tmp_path, things, shards) for shards in (2, 4)] == [first, first], "whole shards, and samples"
    assert list_notes(tmp_path / "other", things, 4, workers=2) == first


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "xx"])
def test_captions_that_are_one_unknown_token_each_stop_the_run(language: str, tmp_path: Path) -> None:
    captions = [
        f"{who}{where}{what}" for who in "猫狗鸟" for where in ("在湖边", "在树下") for what in ("睡觉", "喝水")
    ]
    things = [Thing(caption, contents={"text": caption.encode()}, modalities=("text",)) for caption in captions]
    write_corpus(tmp_path / "data", things)
    params = make_params(text__language=language, text__min_count=2, text__min_known=0.5)
    message = rf"knows 0\.0% of the 12 tokens of 12 texts .*language .*\(it is {language}\)"
    with patch.object(DatasetBuild, "make_shards") as make_shards, pytest.raises(InputError, match=message):
        run_extract(tmp_path, params)
    make_shards.assert_not_called()


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", "<unk>"]), max_size=6), max_size=8), st.integers(1, 3))
def test_counts_tell_what_encoding_will_find(texts: list[list[str]], min_count: int) -> None:
    assert LEARNING is not None
    params = TextFeatures(length=4, min_count=min_count)
    counts = sum((LEARNING.count(words, params) for words in texts), Counter[str]())
    learned = LEARNING.learn(counts, params)
    found = TokenTally()
    for words in texts:
        encoded = LEARNING.encode(words, params, learned)
        assert isinstance(encoded, Encoded)
        found += encoded.tally
    assert tally_counts(counts, len(texts), learned) == replace(found, cut=0)
