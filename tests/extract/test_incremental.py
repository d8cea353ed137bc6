"""Incremental builds: only what is new is computed, with the bytes of a build from nothing."""

import hashlib
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.incremental.object_store import PACK
from pipeline.runtime.executor import Executor, open_executor
from pipeline.tables.drops import Outcome
from tests.support.factory_extract import (
    USUAL,
    Thing,
    draw_item,
    make_params,
    make_run,
    make_things,
    run_extract,
    write_corpus,
)
from tests.support.running import hash_files

pytestmark = pytest.mark.slow

Feature = tuple[str, int, bytes]
"""A modality, the number of its settings, and the bytes of an item."""

SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "image": ({}, {"image__width": 20}, {"image__store": "jpeg"}),
    "audio": ({}, {"audio__hop": 64}, {"audio__coefficients": 6}),
    "text": ({}, {"text__length": 4}),
}


@dataclass
class Corpus:
    """What there is at one time: things, and the number of the settings of each modality."""

    things: dict[str, Thing] = field(default_factory=lambda: {thing.key: thing for thing in make_things(8)})
    settings: dict[str, int] = field(default_factory=lambda: dict.fromkeys(USUAL, 0))
    vocabulary: int = 4000

    def list_features(self) -> set[Feature]:
        """All that has to be computed for it."""
        return {
            (name, self.settings[name], thing.contents.get(name) or draw_item(thing.key, name))
            for thing in self.things.values()
            for name in thing.modalities
        }

    def extract(self, folder: Path) -> Outcome:
        """Extract it in `folder`, in place of what was there; the cache stays."""
        shutil.rmtree(folder / "data", ignore_errors=True)
        write_corpus(folder / "data", list(self.things.values()))
        changes = {k: v for name, number in self.settings.items() for k, v in SETTINGS[name][number].items()}
        params = make_params(shard_bytes=1 << 16, max_dropped=0.9, text__vocabulary=self.vocabulary, **changes)
        return run_extract(folder, params)


Edit = Callable[[Corpus], None]


def add_thing(name: str) -> Edit:
    return lambda corpus: corpus.things.update({name: Thing(name, label="one")})


def remove_thing(number: int) -> Edit:
    def edit(corpus: Corpus) -> None:
        if len(corpus.things) > 3:
            del corpus.things[sorted(corpus.things)[number % len(corpus.things)]]

    return edit


def change_thing(number: int, **changes: Any) -> Edit:
    def edit(corpus: Corpus) -> None:
        key = sorted(corpus.things)[number % len(corpus.things)]
        corpus.things[key] = replace(corpus.things[key], **changes)

    return edit


def change_content(number: int, modality: str, other: str) -> Edit:
    """The item of one thing becomes that of another: a new one, one that is there already, or none that can be read."""

    def edit(corpus: Corpus) -> None:
        key = sorted(corpus.things)[number % len(corpus.things)]
        content = b"unreadable " if other == "broken" else draw_item(other, modality)
        thing = corpus.things[key]
        corpus.things[key] = replace(thing, contents={**thing.contents, modality: content})

    return edit


def change_settings(modality: str, number: int) -> Edit:
    return lambda corpus: corpus.settings.update({modality: number % len(SETTINGS[modality])})


def change_vocabulary(size: int) -> Edit:
    return lambda corpus: setattr(corpus, "vocabulary", size)


NUMBERS = st.integers(0, 20)
EDITS = st.one_of(
    st.builds(add_thing, st.sampled_from(["new-1", "new-2", "thing-001"])),
    st.builds(remove_thing, NUMBERS),
    st.builds(change_content, NUMBERS, st.sampled_from(["image", "audio"]), st.just("broken")),
    st.builds(change_content, NUMBERS, st.sampled_from(USUAL), st.sampled_from(["other", "thing-000"])),
    st.builds(lambda n, label: change_thing(n, label=label), NUMBERS, st.sampled_from(["one", "two"])),
    st.builds(lambda n, split: change_thing(n, split=split), NUMBERS, st.sampled_from(["train", "test"])),
    st.builds(lambda n: change_thing(n, columns={"licence": "MIT"}), NUMBERS),
    st.builds(lambda n: change_thing(n, modalities=("image", "text")), NUMBERS),
    st.builds(change_settings, st.sampled_from(USUAL), NUMBERS),
    st.builds(change_vocabulary, st.sampled_from([3, 4000])),
)


def read_counts(outcome: Outcome) -> tuple[int, int]:
    """Return how many features were reused and how many computed."""
    (line,) = (note for note in outcome.notes if note.startswith("features: "))
    found = re.match(r"features: ([\d,]+) reused, ([\d,]+) computed", line)
    assert found
    reused, computed = (int(number.replace(",", "")) for number in found.groups())
    return reused, computed


def list_outputs(folder: Path) -> dict[str, str]:
    return {path: sha for path, sha in hash_files(folder / "data").items() if path[0] == "5"}


def check_edits(edits: list[list[Edit]], folder: Path) -> None:
    """After each few edits: only what was never there is computed, and a build from nothing gives the same bytes."""
    corpus, seen = Corpus(), set[Feature]()
    for number, some in enumerate([[], *edits]):
        for edit in some:
            edit(corpus)
        outcome, wanted = corpus.extract(folder / "kept"), corpus.list_features()
        assert read_counts(outcome) == (len(wanted & seen), len(wanted - seen))
        seen |= wanted
        anew = corpus.extract(folder / f"anew-{number}")
        assert read_counts(anew) == (0, len(wanted))
        assert list_outputs(folder / f"anew-{number}") == list_outputs(folder / "kept")


def test_some_edits_give_the_bytes_of_a_build_from_nothing(tmp_path: Path) -> None:
    """Every kind of edit, three at a time."""
    draw = random.Random(0)
    edits: list[Edit] = [
        add_thing("new-1"),
        remove_thing(draw.randrange(8)),
        change_content(draw.randrange(8), "image", "broken"),
        change_content(draw.randrange(8), "text", "other"),
        change_content(draw.randrange(8), "audio", "thing-000"),
        change_thing(draw.randrange(8), label="two"),
        change_thing(draw.randrange(8), split="test"),
        change_thing(draw.randrange(8), columns={"licence": "MIT"}),
        change_thing(draw.randrange(8), modalities=("image", "text")),
        change_settings("image", 2),
        change_settings("text", 1),
        change_vocabulary(3),
    ]
    draw.shuffle(edits)
    check_edits([edits[start : start + 3] for start in range(0, len(edits), 3)], tmp_path)


@pytest.mark.sweep
@settings(max_examples=40)
@given(edits=st.lists(st.lists(EDITS, min_size=1, max_size=4), min_size=1, max_size=3))
def test_any_edits_give_the_bytes_of_a_build_from_nothing(
    edits: list[list[Edit]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_edits(edits, tmp_path_factory.mktemp("edits"))


SCENARIO: list[list[Edit]] = [
    [add_thing("new-1"), change_content(3, "audio", "other")],
    [remove_thing(5), change_thing(2, label="two"), change_content(1, "image", "broken")],
    [change_settings("audio", 1)],
    [change_settings("audio", 0), change_vocabulary(3)],
]


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    """Two processes, for several runs: starting them is most of the time."""
    with open_executor(make_run(Path(".cache"), workers=2), 2) as started:
        yield started


def test_workers_keep_and_compute_the_same(workers: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.extract.step.open_executor", lambda *_: nullcontext(workers))
    check_edits(SCENARIO, tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the corpus was extracted once; for reading only."""
    folder = tmp_path_factory.mktemp("made")
    Corpus().extract(folder)
    return folder


def test_a_run_with_nothing_new_computes_nothing_and_writes_no_shard(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.extract(tmp_path)
    before = {path.name: path.stat().st_ino for path in (tmp_path / "data/5_shards").rglob("*.tar")}
    outcome = corpus.extract(tmp_path)
    assert read_counts(outcome) == (24, 0)
    assert {path.name: path.stat().st_ino for path in (tmp_path / "data/5_shards").rglob("*.tar")} == before
    objects = {path.stat().st_ino for path in (tmp_path / "cache/objects").glob("*.tar")}
    assert objects == set(before.values()), "the disk holds the features once"
    assert len(list((tmp_path / "cache/objects").glob("*.pack"))) == 1, "of the texts' words"


def test_two_checkouts_may_share_a_cache(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "cache", tmp_path / "cache")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/cache").symlink_to(tmp_path / "cache")
    assert read_counts(Corpus().extract(tmp_path / "two")) == (24, 0)
    assert list_outputs(tmp_path / "two") == list_outputs(made)


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_cache_that_is_too_small_costs_time_and_nothing_else(
    limit: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus()
    monkeypatch.setattr("tests.support.factory_extract.CACHE_BYTES", limit)
    for _ in range(2):
        outcome = corpus.extract(tmp_path / "small")
        assert list_outputs(tmp_path / "small") == list_outputs(made)
        assert any("raise run.cache_bytes" in note for note in outcome.notes)
        kept = [path for path in (tmp_path / "small/cache/objects").iterdir() if path.name != ".lock"]
        assert sum(path.stat().st_size for path in kept) <= limit


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(3, 20))])
def test_a_damaged_cache_is_mended(seed: int, made: Path, tmp_path: Path) -> None:
    """Bytes changed, files cut, gone or replaced, between runs and in any of the cache's files."""
    draw = random.Random(seed)
    corpus = Corpus()
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    expected = list_outputs(tmp_path)
    files = sorted(path for path in (tmp_path / "cache/objects").iterdir() if path.name != ".lock")
    contents = [path.read_bytes() for path in files]
    for number in draw.sample(range(len(files)), 4):
        path, content = files[number], bytearray(contents[number])
        path.unlink()  # as its second name is an output
        match draw.randrange(4):
            case 0:
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            case 1:
                del content[draw.randrange(len(content)) :]
            case 2:
                content = bytearray(draw.choice(contents))
            case 3:
                continue
        path.write_bytes(content)
    if draw.random() < 0.5:
        corpus.vocabulary = 3  # all shards are put together anew
        Corpus(vocabulary=3).extract(tmp_path / "anew")
        expected = list_outputs(tmp_path / "anew")
    outcome = corpus.extract(tmp_path)
    assert list_outputs(tmp_path) == expected
    assert read_counts(outcome)[1] <= 24
    again = corpus.extract(tmp_path)
    if read_counts(again)[1]:  # entries that no shard needed went with others of a damaged pack
        again = corpus.extract(tmp_path)
    assert read_counts(again) == (24, 0)
    assert list_outputs(tmp_path) == expected


def test_damaged_texts_are_computed_again_once(tmp_path: Path) -> None:
    """To learn the vocabulary from them, and then to encode them, with another vocabulary so that no shard is whole."""
    corpus = Corpus()
    corpus.extract(tmp_path)
    packs = list((tmp_path / "cache/objects").glob(f"*{PACK}"))  # features of other modalities are in the shards
    for path in packs:
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    corpus.vocabulary = 3
    outcome = corpus.extract(tmp_path)
    assert f"the item cache had {len(packs)} damaged objects; 8 features computed again" in outcome.notes


def test_a_changed_byte_in_a_published_shard_does_not_come_back(tmp_path: Path) -> None:
    corpus = Corpus()
    corpus.extract(tmp_path)
    expected = list_outputs(tmp_path)
    shard = next((tmp_path / "data/5_shards/train").glob("*.tar"))
    with shard.open("r+b") as file:  # what nothing of ours does: the cache's file is the same one
        file.seek(3000)
        file.write(b"damage")
    outcome = corpus.extract(tmp_path)
    assert list_outputs(tmp_path) == expected
    assert any("damaged objects" in note for note in outcome.notes)


# A vocabulary that stays


def test_with_a_frozen_vocabulary_a_new_text_changes_its_own_shard_alone(tmp_path: Path) -> None:
    things = make_things(12)
    write_corpus(tmp_path / "data", things)
    run_extract(tmp_path, make_params(shards=8))
    learned = (tmp_path / "data/5_shards/vocabulary.json").read_bytes()
    (tmp_path / "frozen.json").write_bytes(learned)
    frozen = {"path": str(tmp_path / "frozen.json"), "sha256": hashlib.sha256(learned).hexdigest()}
    params = make_params(shards=8, text__frozen=frozen)
    outcome = run_extract(tmp_path, params)
    assert read_counts(outcome) == (36, 0), "what was parsed does not depend on what is learned"
    assert any(re.fullmatch(r"shards: (\d+) of \1 reused", note) for note in outcome.notes)
    before = list_outputs(tmp_path)
    new = Thing("new", contents={"text": b"unheard words and a red bird"}, label="one")
    shutil.rmtree(tmp_path / "data")
    write_corpus(tmp_path / "data", [*things, new])
    outcome = run_extract(tmp_path, params)
    assert read_counts(outcome) == (36, 3)
    after = list_outputs(tmp_path)
    changed = [path for path in after if after[path] != before.get(path) and path.endswith(".tar")]
    assert len(changed) == 1
    assert (tmp_path / "data/5_shards/vocabulary.json").read_bytes() == learned


@pytest.mark.parametrize(
    ("content", "sha256", "message"),
    [
        (
            b'{"words": ["<pad>", "<unk>", "a"]}',
            "0" * 64,
            r"extract\.text\.frozen\.sha256 is [0-9a-f]{64}, but .* has [0-9a-f]{64}: name another file",
        ),
        (b'{"words": ["a"]}', None, r"extract\.text\.frozen\.path is .*, which is no vocabulary\.json"),
        (b'{"words": ["<pad>", "<unk>", "a", "a"]}', None, "is no vocabulary"),
        (b"[1]", None, "is no vocabulary"),
        (b"\xff", None, "is no vocabulary"),
        (None, "0" * 64, r"extract\.text\.frozen\.path is .*, which cannot be read: No such file or directory"),
    ],
    ids=["hash", "no special words", "twice", "no object", "no text", "missing"],
)
def test_a_frozen_vocabulary_that_is_not_the_one_stops_the_run(
    content: bytes | None, sha256: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "frozen.json").write_bytes(content)
    named = {"path": str(tmp_path / "frozen.json"), "sha256": sha256 or hashlib.sha256(content or b"").hexdigest()}
    write_corpus(tmp_path / "data", make_things(2))
    with pytest.raises(InputError, match=message):
        run_extract(tmp_path, make_params(text__frozen=named))
    assert [path.name for path in (tmp_path / "cache/objects").iterdir()] == [".lock"], "before any work"
