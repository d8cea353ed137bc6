"""WebDataset shards: the samples that webdataset reads, with the order, resuming and integrity of a `ShardDataset`."""

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardwright import DamageError, FormatError, Loader, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.webdataset.dataset import ForeignDataset
from tests.support.webdataset_tars import (
    FORMATS,
    Sample,
    is_equal,
    list_members,
    make_mixed,
    make_tar,
    read_by_webdataset,
    user_cache,
    write_by_tar,
    write_by_webdataset,
    write_shards,
)

pytestmark = pytest.mark.slow

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset

KEYS = st.from_regex(r"([a-zé_][a-z0-9 é_-]{0,40}/){0,3}[a-z0-9é_-][a-z0-9 é_-]{0,40}", fullmatch=True)
SUFFIXES = st.from_regex(r"[a-z0-9_]{1,9}(\.[a-z0-9]{1,5})?", fullmatch=True).filter(
    lambda s: s not in ("key", "valid")
)


@st.composite
def shards(draw: st.DrawFn) -> list[list[Sample]]:
    """Samples with the same suffixes, divided into shards."""
    suffixes = draw(st.lists(SUFFIXES, min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    keys = draw(st.lists(KEYS, min_size=1, max_size=12, unique=True).filter(lambda keys: not find_notes(keys)))
    samples = [(key, {suffix: rng.bytes(int(rng.integers(0, 5000))) for suffix in suffixes}) for key in keys]
    cuts = sorted(draw(st.lists(st.integers(0, len(samples)), max_size=2)))
    return [samples[start:end] for start, end in zip([0, *cuts], [*cuts, len(samples)], strict=True)]


def find_notes(keys: list[str]) -> list[str]:
    """Return the keys that webdataset ignores as notes."""
    return [key for key in keys if key.startswith("__")]


def read_all(data: ForeignDataset) -> list[Sample]:
    return [(sample.pop("key"), sample) for sample in data]


def assert_same_batches(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert len(found[name]) == len(values)
        assert all(is_equal(one, other) for one, other in zip(found[name], values, strict=True)), name


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(written=shards(), form=st.sampled_from([*FORMATS]))
def test_any_samples_are_read_as_webdataset_reads_them(
    written: list[list[Sample]], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if any(len(name.encode()) > 100 for samples in written for name, _ in list_members(samples)) and form == "ustar":
        form = "pax"
    folder = write_shards(tmp_path_factory.mktemp("set"), written, form)
    samples = [sample for shard in written for sample in shard]
    with OPEN(folder, decode=None, cache=folder / "cache") as data:
        assert read_all(data) == samples == read_by_webdataset(sorted(folder.glob("*.tar")))
        rows = np.random.default_rng(0).permutation(len(samples))
        assert data.gather(rows)["key"] == [samples[row][0] for row in rows]
        assert [data.find_sample(key) for key, _ in samples] == list(range(len(samples)))


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=ustar"], ["--format=v7"]])
def test_shards_written_by_the_program_tar(tmp_path: Path, options: list[str]) -> None:
    long = "g" * (90 if options in (["--format=v7"], ["--format=ustar"]) else 180)
    samples = [("./a/x", {"jpg": b"1", "txt": b"2"}), (f"./{long}", {"jpg": b"3" * 1000, "txt": b""})]
    folder = write_by_tar(tmp_path / "set", samples, options)
    with OPEN(folder, decode=None) as data:
        assert read_all(data) == samples == read_by_webdataset([folder / "shard-000.tar"])


def test_shards_written_by_webdataset(tmp_path: Path) -> None:
    samples = [(f"é/{number:06d}", {"a.txt": b"x" * number, "cls": b"%d" % number}) for number in range(11)]
    folder = write_by_webdataset(tmp_path / "set", samples)
    with OPEN(folder, decode=None) as data:
        assert read_all(data) == samples
        assert [data.find_shard(row) for row in (0, 4, 10)] == ["shard-000.tar", "shard-001.tar", "shard-002.tar"]


def test_members_that_belong_to_no_sample_are_counted(tmp_path: Path) -> None:
    names = ["README", "a.txt", ".DS_Store", "__meta__", "a.cls", "d/._b.jpg", "__notes__/x.txt", "b.txt", "b.cls"]
    (tmp_path / "x.tar").write_bytes(make_tar([(name, b"1") for name in names]))
    with OPEN(tmp_path) as data:
        assert [sample["key"] for sample in data] == ["a", "b"]
        shard = data.index.shards[0]
        assert (shard.ignored, shard.examples) == (5, ("README", ".DS_Store", "__meta__"))


@pytest.mark.parametrize("pattern", ["s-{08..11}.tar", "s-*.tar", ".", "{s-08,s-09,s-10,s-11}.tar", None])
def test_shards_can_be_named_by_patterns_folders_and_lists(tmp_path: Path, pattern: str | None) -> None:
    paths = [tmp_path / f"s-{number:02d}.tar" for number in range(8, 12)]
    for number, path in enumerate(paths):
        path.write_bytes(make_tar([(f"{number}.cls", b"7")]))
    with OPEN(str(tmp_path / pattern) if pattern else paths) as data:
        assert data.gather(range(4))["key"] == ["0", "1", "2", "3"]


def test_missing_and_refused_shards(tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    missing: list[tuple[Any, str]] = [
        (tmp_path, "a.tar.gz is compressed"),
        (tmp_path / "*.tar", "no file matches"),
        (tmp_path / "a-{0..2}.tar", "a-0.tar"),
        (tmp_path / "b.tar", "b.tar"),
    ]
    for urls, found in missing:
        with pytest.raises(FileNotFoundError, match=found):
            OPEN(urls)
    refused: list[tuple[Any, str]] = [
        ([], "empty"),
        ([tmp_path / "b.tar", tmp_path / "b.tar"], "listed twice"),
        (str(tmp_path / "{0..2.tar"), "unbalanced"),
        (str(tmp_path / "{0}.tar"), "must be a range"),
        (str(tmp_path / "{0..9999999999}.tar"), "more than 100000 shards"),
        ("pipe:touch /tmp/x", "not run"),
        ("s3://bucket/x.tar", "local"),
    ]
    for bad, found in refused:
        with pytest.raises(FormatError, match=found):
            OPEN(bad)


def test_members_are_selected_and_renamed(tmp_path: Path) -> None:
    samples: list[Sample] = [
        ("a", {"jpg": b"1", "txt": b"one", "json": b"[1]"}),
        ("b", {"png": b"2", "txt": b"two"}),
        ("c", {"png": b"3", "jpg": b"4"}),
    ]
    folder = write_shards(tmp_path / "a", [samples])
    with OPEN(folder, members={"image": ("jpg", "png")}, decode=None) as data:
        assert data.gather([0, 1, 2])["image"] == [b"1", b"2", b"4"]
        assert [data.meta(row) for row in range(3)] == [{"json": [1]}, {}, {}]
    with OPEN(folder, members={"image": ("jpg", "png"), "caption": "txt"}, decode=None, incomplete="drop") as data:
        assert read_all(data) == [("a", {"image": b"1", "caption": b"one"}), ("b", {"image": b"2", "caption": b"two"})]
        assert data.gather([1], ReadContext(fields=("caption",))) == {"key": ["b"], "caption": [b"two"]}
    with pytest.raises(KeyError, match="no member has the suffix 'webp'"):
        OPEN(folder, members=["webp"])
    with pytest.raises(FormatError, match="must be a list, such as"):
        OPEN(folder, members="txt")


def test_reserved_names(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "a", [[("a", {"key": b"1", "valid": b"2", "txt": b"3"})]])
    with pytest.raises(FormatError, match="the name 'key', under which a batch has the keys of the samples"):
        OPEN(folder)
    with OPEN(folder, members={"lock": "key", "txt": "txt"}) as data:
        assert data[0] == {"key": "a", "lock": b"1", "txt": "3"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    names=st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b", "A"])), max_size=9), min_size=1, max_size=3
    )
)
def test_samples_are_complete_or_dropped_with_a_reason(
    names: list[list[tuple[int, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Members in any order, some missing or repeated, compared with a grouping in a few lines."""
    folder = tmp_path_factory.mktemp("set")
    runs: list[list[tuple[int, str]]] = []
    for number, members in enumerate(names):
        content = make_tar([(f"k{key}.{suffix}", b"%d" % number) for key, suffix in members])
        (folder / f"{number}.tar").write_bytes(content)
        for position, member in enumerate(members):
            if position == 0 or members[position - 1][0] != member[0]:
                runs.append([])
            runs[-1].append(member)
    known = {suffix.lower() for run in runs for _, suffix in run}
    complete = [sorted(suffix.lower() for _, suffix in run) == sorted(known) for run in runs]
    if not all(complete):
        with pytest.raises(FormatError, match=f"{complete.count(False)} of {len(complete)} samples are incomplete"):
            OPEN(folder, cache=folder / "cache")
    with OPEN(folder, cache=folder / "cache", incomplete="drop") as data:
        assert len(data) == complete.count(True)
        assert [sample["key"] for sample in data] == [
            f"k{run[0][0]}" for run, ok in zip(runs, complete, strict=True) if ok
        ]
        assert [drop.key for drop in data.dropped] == [
            f"k{run[0][0]}" for run, ok in zip(runs, complete, strict=True) if not ok
        ]


def test_incomplete_samples_are_explained(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg", "a.txt", "b.txt", "c.jpg", "c.txt", "d.jpg", "d.JPG", "d.txt", "e.jpg"]
    (tmp_path / "x.tar").write_bytes(make_tar([(name, b"1") for name in names]))
    apart = "members with this key are not consecutive; write the tar with --sort=name"
    with pytest.raises(FormatError) as error:
        OPEN(tmp_path, decode=None)
    assert "6 of 7 samples are incomplete (members: jpg 5, txt 4)" in str(error.value)
    assert f"x.tar: 'a' at byte 512: it lacks txt; {apart}" in str(error.value)
    with OPEN(tmp_path, decode=None, incomplete="drop") as data:
        assert [sample["key"] for sample in data] == ["c"]
        assert [(drop.key, drop.shard, drop.offset, drop.detail) for drop in data.dropped] == [
            ("a", "x.tar", 512, f"it lacks txt; {apart}"),
            ("b", "x.tar", 1536, f"it lacks txt; {apart}"),
            ("a", "x.tar", 2560, f"it lacks jpg; {apart}"),
            ("b", "x.tar", 3584, f"it lacks jpg; {apart}"),
            ("d", "x.tar", 6656, "two of its members have one suffix"),
            ("e", "x.tar", 9728, "it lacks txt"),
        ]
        hash_of_complete = data.hash
    with OPEN(tmp_path, decode=None, members=["jpg"], incomplete="drop") as data:
        assert data.hash != hash_of_complete
    with pytest.raises(FormatError, match="incomplete is 'keep'; it must be"):
        OPEN(tmp_path, incomplete="keep")  # type: ignore[arg-type]


def test_shards_without_a_sample(tmp_path: Path) -> None:
    with OPEN(write_shards(tmp_path / "a", [[], []])) as data:
        assert (len(data), data.names, data.gather([])) == (0, (), {"key": []})
        assert len(data.cut_blocks(100)) == len(data.keys) == 0
        with pytest.raises(IndexError):
            data[0]


def test_repeated_keys_are_allowed(tmp_path: Path) -> None:
    """Many writers count from zero in each shard; samples are numbered, and states go by number."""
    folder = write_shards(tmp_path / "a", [[("0", {"txt": b"a"}), ("1", {"txt": b"b"})], [("0", {"txt": b"c"})]])
    with OPEN(folder) as data:
        assert data.gather([0, 1, 2])["txt"] == ["a", "b", "c"]
        assert data.find_sample("0") == 0
        with pytest.raises(KeyError, match="no sample '7'"):
            data.find_sample("7")


def test_blocks_and_windows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = make_mixed(30, rng)
    samples.append(("zero", dict.fromkeys(samples[0][1], b"")))
    folder = write_shards(tmp_path / "set", [samples[:11], [], samples[11:]])
    with OPEN(folder, decode=None) as data:
        for size in (1, 5000, 20_000, 10**9):
            starts = data.cut_blocks(size)
            assert starts[0] == 0
            assert (np.diff(starts) > 0).all()
            assert 11 in starts
            ends = [*starts[1:].tolist(), len(data)]
            for start, end in zip(starts.tolist(), ends, strict=True):
                window = data.open_window(np.arange(start, end))
                found = data.gather(np.arange(start, end)[::-1], ReadContext(files=window))
                assert_same_batches(found, data.gather(np.arange(start, end)[::-1]))
        assert len(data.cut_blocks(1)) == 31
        assert len(data.cut_blocks(10**9)) == 2


@pytest.mark.parametrize("access", ["map", "pread"])
def test_several_threads_may_read_at_once(tmp_path: Path, access: Any) -> None:
    samples = make_mixed(40, np.random.default_rng(0))
    with OPEN(write_shards(tmp_path / "set", [samples[:20], samples[20:]]), access=access) as data:
        batches = [np.random.default_rng(n).integers(0, 40, 16) for n in range(24)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(data.gather, batches))
        for rows, batch in zip(batches, found, strict=True):
            assert_same_batches(batch, data.gather(rows))


def test_the_interface_of_a_source(tmp_path: Path) -> None:
    samples = make_mixed(9, np.random.default_rng(0))
    folder = write_shards(tmp_path / "set", [samples[:4], samples[4:]])
    data = OPEN(folder, decode={"txt": bytes.decode})
    again = pickle.loads(pickle.dumps(data))
    assert (again.hash, len(again), again.names) == (data.hash, 9, data.names)
    assert_same_batches(again.gather(range(9)), data.gather(range(9)))
    assert_same_batches({name: [value] for name, value in data[-1].items()}, data.gather([8]))
    assert data.gather([])["npy"].shape == (0, 2, 3)
    assert data.keys.tolist() == [key.encode() for key, _ in samples]
    for bad in (9, -10):
        with pytest.raises(IndexError):
            data[bad]
    assert data.verify() == []
    data.close()
    with pytest.raises(ValueError, match="closed"):
        data[0]


def shout(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"txt": sample["txt"].upper(), "draw": int(rng.integers(1000))}


def test_views(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", [make_mixed(9, np.random.default_rng(0))])
    with OPEN(folder) as data:
        odd = data.filter(lambda meta: bool(meta["n"] % 2))
        chosen = odd.select(["txt", "cls"])
        assert chosen.gather([1, 0])["txt"] == ["caption 3 é", "caption 1 é"]
        assert list(chosen[0]) == ["key", "txt", "cls"]
        loud = chosen.with_transform(shout)
        batches = [list(Loader(loud, 3, shuffle=True, seed=1, threads=threads)) for threads in (0, 2)]
        assert [batch["txt"] for batch in batches[0]] == [batch["txt"] for batch in batches[1]]
        assert [batch["draw"].tolist() for batch in batches[0]] == [batch["draw"].tolist() for batch in batches[1]]
        assert {text for batch in batches[0] for text in batch["txt"]} == {f"CAPTION {n} É" for n in (1, 3, 5, 7)}


def test_the_hash_depends_only_on_the_bytes(tmp_path: Path) -> None:
    samples = make_mixed(6, np.random.default_rng(0))
    one = OPEN(write_shards(tmp_path / "a", [samples[:3], samples[3:]]))
    two = OPEN(str(write_shards(tmp_path / "b", [samples[:3], samples[3:]]) / "shard-{000..001}.tar"), decode=None)
    three = OPEN(write_shards(tmp_path / "c", [samples[:3], samples[2:]]))
    assert one.hash == two.hash != three.hash
    pickled = pickle.dumps(one)
    shutil.copy(tmp_path / "c" / "shard-001.tar", tmp_path / "a" / "shard-001.tar")
    with pytest.raises(DamageError, match=r"shard-001.tar has \d+ bytes; it had \d+ when it was indexed"):
        pickle.loads(pickled)


@pytest.mark.parametrize("order", ["global", "block", "none"])
@pytest.mark.parametrize("threads", [0, 2])
def test_the_loader_resumes_anywhere(tmp_path: Path, order: Any, threads: int) -> None:
    samples = make_mixed(37, np.random.default_rng(0))
    folder = write_shards(tmp_path / "set", [samples[:20], samples[20:]])
    options = {"shuffle": order, "seed": 5}
    with OPEN(folder, members=["cls", "txt", "png"]) as data:
        whole = [batch["key"] for batch in make_loader(data, **options, threads=1)]
        assert sorted(key for batch in whole for key in batch) == [key for key, _ in samples]
        for stop in range(5):
            loader = make_loader(data, **options, threads=threads)
            batches = iter(loader)
            for _ in range(stop):
                next(batches)
            state = loader.state_dict()
            batches.close()  # type: ignore[attr-defined]
            resumed = make_loader(data, **options, threads=1 - bool(threads))
            resumed.load_state_dict(state)
            assert [batch["key"] for batch in resumed] == whole[stop:]


def make_loader(data: ForeignDataset, **options: Any) -> Loader:
    return Loader(data, 8, **options)
