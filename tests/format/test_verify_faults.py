"""`verify` reports each fault of a dataset by file, sample and cause."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shardwright import (
    DamageError,
    ShardDataset,
    ShardwrightError,
    verify,
)
from tests.support.loader.sets import flip_bit
from tests.support.old_sets import make_old
from tests.support.shard_samples import SMALL_FIELDS
from tests.support.small_sets import write_set

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only."""
    return write_set(tmp_path_factory.mktemp("intact"), SMALL_FIELDS)


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(intact, tmp_path / "copy"))


@dataclass(frozen=True)
class Fault:
    """A fault of a dataset: its cause, the problems that `verify` reports, and whether the dataset still opens."""

    cause: Callable[[Path], object]
    problems: list[tuple[str, str | None, str]]
    opens: bool = False


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def swap(one: Path, other: Path) -> None:
    aside = rename(one, "aside")
    other.rename(one)
    aside.rename(other)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


STRIDE = 4 * 512 + 512 + 512 + 512 + 512  # a header and one block for each of the four members, see SMALL_FIELDS
INDEX = "train/train-000001.index.npy"
FIRST, SECOND, LAST = "train/train-000000.tar", "train/train-000001.tar", "train/train-000003.tar"


def damage_both(root: Path) -> None:
    for name in (INDEX, SECOND):
        flip_bit(root / name, 8 * 600)


FAULTS = {
    "missing shard": Fault(lambda r: (r / SECOND).unlink(), [(SECOND, None, "missing")]),
    "renamed shard": Fault(
        lambda r: rename(r / SECOND, "other.tar"),
        [(SECOND, None, "missing"), ("train/other.tar", None, f"holds the bytes of {SECOND}")],
    ),
    "swapped shards": Fault(
        lambda r: swap(r / FIRST, r / SECOND),
        [(FIRST, None, f"holds the bytes of {SECOND}"), (SECOND, None, f"holds the bytes of {FIRST}")],
        opens=True,
    ),
    "shard copied over another": Fault(
        lambda r: shutil.copy(r / FIRST, r / SECOND), [(SECOND, None, f"holds the bytes of {FIRST}")], opens=True
    ),
    "shard of another split": Fault(
        lambda r: shutil.copy(r / "val/val-000000.tar", r / FIRST),
        [(FIRST, None, "holds the bytes of val/val-000000.tar")],
        opens=True,
    ),
    "extra shard": Fault(
        lambda r: shutil.copy(r / FIRST, r / "train/train-000004.tar"),
        [("train/train-000004.tar", None, f"not in the manifest, holds the bytes of {FIRST}")],
        opens=True,
    ),
    "unlisted split": Fault(
        lambda r: shutil.copytree(r / "val", r / "test"),
        [("test/", None, "a split that the manifest does not list")],
        opens=True,
    ),
    "shard cut between two samples": Fault(
        lambda r: cut(r / SECOND, 2 * STRIDE), [(SECOND, "train-008", "the shard ends here")]
    ),
    "shard cut in a sample": Fault(
        lambda r: cut(r / SECOND, 2 * STRIDE + 700), [(SECOND, "train-008", "the shard ends here")]
    ),
    "shard without its end": Fault(
        lambda r: cut(r / LAST, 2 * STRIDE + 512), [(LAST, None, "does not end with two zero blocks")]
    ),
    "shard with more behind it": Fault(lambda r: append(r / LAST, b"more"), [(LAST, None, "bytes follow the end")]),
    "missing index": Fault(
        lambda r: (r / INDEX).unlink(), [(INDEX, None, "missing; it is the index of train-000001.tar")], opens=True
    ),
    "cut index": Fault(lambda r: cut(r / INDEX, 500), [(INDEX, None, "the manifest says")], opens=True),
    "longer index": Fault(lambda r: append(r / INDEX, b"x"), [(INDEX, None, "not the rows")], opens=True),
    "folder instead of an index": Fault(lambda r: put_folder(r / INDEX), [(INDEX, None, "missing")], opens=True),
    "extra index": Fault(
        lambda r: shutil.copy(r / INDEX, r / "train/index.npy"),
        [("train/index.npy", None, "not in the manifest")],
        opens=True,
    ),
    "damage in index and shard": Fault(
        damage_both,
        [(INDEX, None, "the manifest says"), (SECOND, None, "the manifest says")],
        opens=True,
    ),
    "one damaged index of an older split": Fault(
        lambda r: flip_bit(make_old(r) / "train/index.npy", 8 * 600), [("train/index.npy", None, "the manifest says")]
    ),
    "missing vocabulary": Fault(
        lambda r: (r / "vocabulary.txt").unlink(), [("vocabulary.txt", None, "missing")], opens=True
    ),
    "edited vocabulary": Fault(
        lambda r: append(r / "vocabulary.txt", b"c\n"), [("vocabulary.txt", None, "the manifest says")], opens=True
    ),
    "missing manifest": Fault(lambda r: (r / "dataset.json").unlink(), [("dataset.json", None, "missing")]),
    "edited manifest": Fault(
        lambda r: edit(r / "dataset.json", "HWC", "CHW"),
        [("dataset.json", None, "that of its content is")],
    ),
    "edited licence": Fault(
        lambda r: edit(r / "dataset.json", "CC0-1.0", "CC0-2.0"),
        [("dataset.json", None, "sources_hash is")],
    ),
    "manifest formatted otherwise": Fault(
        lambda r: edit(r / "dataset.json", "\n", "\n "),
        [("dataset.json", None, "not formatted as it was written")],
        opens=True,
    ),
    "pipe instead of a shard": Fault(lambda r: put_pipe(r / SECOND), [(SECOND, None, "cannot be read: not a file")]),
    "cut manifest": Fault(lambda r: cut(r / "dataset.json", 300), [("dataset.json", None, "not readable as JSON")]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported(root: Path, name: str) -> None:
    fault = FAULTS[name]
    fault.cause(root)
    found = verify(root).problems
    assert len(found) == len(fault.problems)
    for problem, (shard, sample, what) in zip(found, fault.problems, strict=True):
        assert (problem.shard, problem.sample) == (shard, sample)
        assert what in problem.what
    if fault.opens:
        ShardDataset(root, "train").close()
    else:
        with pytest.raises((ShardwrightError, FileNotFoundError)):
            ShardDataset(root, "train")


@pytest.mark.parametrize("name", ["swapped shards", "shard copied over another", "shard of another split"])
def test_reading_detects_a_shard_that_replaces_another(root: Path, name: str) -> None:
    FAULTS[name].cause(root)
    with ShardDataset(root, "train") as data, pytest.raises(DamageError):
        data.gather(range(len(data)))
