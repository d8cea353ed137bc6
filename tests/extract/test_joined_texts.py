"""Texts of a part that are joined to one: as if one file held them."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_fields import PartKind
from pipeline.lineage.why.command import run as run_why
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.join import join_parsed
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from shardwright import ShardDataset, read_manifest
from tests.support.factory_extract import Kinds, Thing, make_params, read_all, run_extract, write_corpus
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow

WORDS = st.lists(st.sampled_from(["a", "Don't", "cats,", "(dogs)", "[EMAIL]", "3.5", "été", "x;y"]), max_size=7)
TEXTS = st.lists(WORDS.map(" ".join), min_size=2, max_size=4)


def parse(text: str, params: TextFeatures) -> Any:
    return parse_text(MediaItem(text.encode(), "text/plain"), params)


@settings(max_examples=40)
@given(TEXTS, st.sampled_from(["\n", " ", " ; ", " and so on, "]), st.integers(1, 20))
@example(["", ""], " ; ", 1)
def test_joined_words_are_those_of_the_joined_text(texts: list[str], joiner: str, length: int) -> None:
    params = TextFeatures(length=length)
    assert join_parsed([parse(text, params) for text in texts], joiner, params) == parse(joiner.join(texts), params)


@settings(max_examples=20)
@given(TEXTS, st.text(max_size=3))
def test_joined_byte_pairs_are_those_of_the_joined_text(texts: list[str], joiner: str) -> None:
    params = TextFeatures(tokenizer="bpe", lowercase=False)
    assert join_parsed([parse(text, params) for text in texts], joiner, params) == joiner.join(texts)


STORIES = [
    ["one red bird", "two birds"],
    ["a"],
    ["the first text is cut here", "and nobody sees this"],
    ["", "green", "", "grün"],
    [],
    ["long " * 150, "longer " * 150, "longest"],
    ["mail to [EMAIL]", "or call [PHONE] today"],
    ["two birds", "one red bird"],
]


def write_stories(folder: Path, stories: Sequence[Sequence[str]], joiner: str | None) -> None:
    """Write a sample for each story, with a text a string of it; one of them is in another split."""
    things = [
        Thing(
            f"thing-{number}",
            "train" if number else "test",
            modalities=("photo", *["story"] * len(texts)),
            contents={f"story{at or ''}": text.encode() or b" " for at, text in enumerate(texts)},
        )
        for number, texts in enumerate(stories)
    ]
    shutil.rmtree(folder / "data", ignore_errors=True)
    kinds: Kinds = {"photo": PartKind("image"), "story": PartKind("text", None if joiner is None else 4, joiner)}
    write_corpus(folder / "data", things, kinds)


def run(folder: Path, params: ExtractParams) -> tuple[Outcome, dict[str, dict[str, Any]], dict[str, Any]]:
    """Extract, and return the outcome, the samples by key, and the vocabulary."""
    outcome = run_extract(folder, params)
    root = folder / "data" / SHARDS_FOLDER
    samples = {key: sample for split in read_manifest(root).splits for key, sample in read_all(root, split).items()}
    learned = read_manifest(root).vocabulary
    assert learned is not None
    return outcome, samples, json.loads((root / learned.name).read_bytes())


def read_captions(folder: Path) -> dict[str, str | None]:
    root = folder / "data" / SHARDS_FOLDER
    captions: dict[str, str | None] = {}
    for split in read_manifest(root).splits:
        with ShardDataset(root, split) as data:
            captions |= {data.meta(row)["key"]: data.meta(row).get("caption") for row in range(len(data))}
    return captions


@pytest.mark.parametrize(
    ("tokenizer", "joiner"), [("words", "\n"), ("words", " and "), ("bpe", " | ")], ids=["words", "a word", "bpe"]
)
def test_joined_texts_are_as_one_file_that_holds_them(tmp_path: Path, tokenizer: str, joiner: str) -> None:
    """The same ids, lengths, vocabulary and caption; the joiner counts as a word of the texts."""
    params = make_params(text__tokenizer=tokenizer, text__vocabulary=400, text__length=8)
    whole = [[joiner.join(text or " " for text in texts)] if texts else [] for texts in STORIES]
    write_stories(tmp_path / "joined", STORIES, joiner)
    write_stories(tmp_path / "whole", whole, None)
    _, joined, words = run(tmp_path / "joined", params)
    _, expected, known = run(tmp_path / "whole", params)
    assert words == known
    assert joined.keys() == expected.keys() == {f"thing-{number}" for number in range(len(STORIES))}
    for key, sample in joined.items():
        for name in ("story", "story_length", "story_present"):
            assert sample[name].tolist() == expected[key][name].tolist(), (key, name)
        assert "story_count" not in sample
    assert read_captions(tmp_path / "joined") == read_captions(tmp_path / "whole")
    extract = read_manifest(tmp_path / "joined" / "data" / SHARDS_FOLDER).extract or {}
    assert extract["joiners"] == {"story": joiner}


def test_another_joiner_or_order_parses_nothing_again(tmp_path: Path) -> None:
    params = make_params(text__length=8)
    write_stories(tmp_path, STORIES, "\n")
    _, before, _ = run(tmp_path, params)
    write_stories(tmp_path, STORIES, " then ")
    outcome, after, _ = run(tmp_path, params)
    assert outcome.notes[1].endswith(" 0 computed")
    assert after["thing-0"]["story_length"] == before["thing-0"]["story_length"] + 1
    write_stories(tmp_path, STORIES[::-1], "\n")
    assert run(tmp_path, params)[0].notes[1].endswith(" 0 computed")


def test_from_files_to_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each text is cleaned by itself, and `why` names the sample of any."""
    files = tmp_path / "files"
    files.mkdir()
    for number in range(8):
        for page, text in enumerate(
            [f"the story of number {number}", "write to me@a.test, please", "the end, surplus"]
        ):
            (files / f"{number}.{page}.txt").write_text(text)
    rule = {"modality": "text", "pattern": r"(?P<key>\d)\.\d\.txt", "many": "join", "most": 2, "joiner": "; "}
    blocks = edit_params(
        crawl__start=[], ingest__root=str(files), align__by="pattern", align__label="none", align__modalities={},
        align__parts={"story": rule}, align__duplicates={"exact": "keep", "near": "keep"}, extract__text__min_count=1,
        extract__text__length=12, clean__max_dropped=1.0, train__modalities=None,
    )  # fmt: skip
    outcomes = run_stages(blocks, tmp_path, "extract")
    assert (outcomes["align"].dropped.total, outcomes["extract"].kept) == (8, 8)
    words = json.loads((tmp_path / "data" / SHARDS_FOLDER / "vocabulary.json").read_text())["words"]
    sample = read_all(tmp_path / "data" / SHARDS_FOLDER)
    key, story = next((key, each) for key, each in sample.items())
    found = [words[token] for token in story["story"][: story["story_length"]]]
    assert found[:4] == ["the", "story", "of", "number"]
    assert found[5:] == [";", "write", "to", "[EMAIL]", ",", "please"]
    monkeypatch.chdir(tmp_path)
    for page in range(2):
        assert run_why([f"{found[4]}.{page}.txt"]) == 0
        assert f"in sample {key}, story {page + 1} of 2" in " ".join(capsys.readouterr().out.split())
