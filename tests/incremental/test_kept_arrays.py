"""Arrays kept between runs are those that were made, bit for bit; whatever is damaged is made again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.incremental import kept_arrays
from pipeline.incremental.arrays_folder import VARIABLE
from pipeline.incremental.kept_arrays import keep_arrays

LIBRARIES = ("numpy", "scipy")


class Maker:
    """Makes arrays, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Sequence[NDArray[Any]]:
        self.made += 1
        rng = np.random.default_rng(0)
        return [
            np.array([0.0, -0.0, np.nan, 5e-324]),
            rng.random((3, 2), np.float32).T,
            np.zeros((0, 4), np.int32),
        ]

    def check(self, about: int = 1) -> None:
        for kept, made in zip(keep_arrays({"about": about}, LIBRARIES, self), Maker()(), strict=True):
            assert (kept.dtype, kept.shape) == (made.dtype, made.shape)
            assert kept.flags.f_contiguous == made.flags.f_contiguous
            assert kept.tobytes() == made.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "arrays"))
    return tmp_path / "arrays"


def test_they_are_made_once(folder: Path) -> None:
    for make in (first := Maker(), second := Maker()):
        make.check()
    assert (first.made, second.made) == (1, 0)
    assert [path.suffix for path in folder.iterdir()] == [".arrays"]


def test_other_arrays_and_other_versions_are_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Maker()
    make.check(about=1)
    make.check(about=2)
    assert make.made == 2
    monkeypatch.setattr(kept_arrays, "read_installed", lambda names: dict.fromkeys(names, "0.0.9"))
    make.check(about=1)
    assert make.made == 3
    monkeypatch.setattr(kept_arrays, "describe_machine", lambda: {"processor type": "another"})
    make.check(about=1)
    assert make.made == 4


def test_a_damaged_file_is_made_again(folder: Path) -> None:
    Maker().check()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(0, len(whole), 7)]
    for damaged in (*flipped, b"", whole[:20], whole[:32], whole[:-1], whole + b"\0"):
        path.write_bytes(damaged)
        make = Maker()
        make.check()
        assert make.made == 1
        assert path.read_bytes() == whole


def test_the_file_of_another_key_is_not_taken(folder: Path) -> None:
    Maker().check(about=1)
    (one,) = folder.iterdir()
    Maker().check(about=2)
    (other,) = set(folder.iterdir()) - {one}
    one.replace(other)
    make = Maker()
    make.check(about=2)
    assert make.made == 1


def test_what_a_killed_writer_left_is_removed(folder: Path) -> None:
    Maker().check()
    (path,) = folder.iterdir()
    path.rename(path.with_name(f".{path.name}.0123abcd.partial"))
    Maker().check()
    assert list(folder.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_to_is_no_error(folder: Path) -> None:
    folder.write_text("a file")
    make = Maker()
    make.check()
    make.check()
    assert make.made == 2


def test_nothing_is_kept_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    make = Maker()
    make.check()
    make.check()
    assert make.made == 2
    assert list(tmp_path.iterdir()) == []
