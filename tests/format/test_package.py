"""The wheel holds all of shardwright and nothing else; an error about a missing package says what to install."""

import sys
import tomllib
from pathlib import Path

import pytest

import shardwright
from shardwright import Loader, ShardDataset
from shardwright.remote.fetch import EXTRAS
from tests.support.shard_samples import write_small

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_folder_of_shardwright_and_no_other() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert tools == {"packages": {"find": {"include": ["shardwright*"]}}, "package-data": {"shardwright": ["py.typed"]}}
    assert [path.name for path in ROOT.glob("shardwright*") if (path / "__init__.py").exists()] == ["shardwright"]
    for folder in {path.parent for path in (ROOT / "shardwright").rglob("*.py")}:
        assert (folder / "__init__.py").exists(), f"{folder} is no package, setuptools leaves it out"
    assert (ROOT / "shardwright/py.typed").exists()


def test_the_extras_that_errors_name_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"torch", "media", "nvimgcodec", "zstd", *EXTRAS.values()} <= extras.keys()


def test_every_public_name_is_found() -> None:
    assert dir(shardwright) == shardwright.__all__ == sorted(shardwright.__all__)
    assert all(getattr(shardwright, name).__name__ == name for name in shardwright.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Load'"):
        getattr(shardwright, "Load")  # noqa: B009  # mypy knows that there is none


def test_without_torch_samples_are_read_and_the_loader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with ShardDataset(tmp_path, "train") as data:
        assert data[0]["image"].shape == (5, 7, 3)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'shardwright\[torch\]'"):
            Loader(data, 4, shuffle=True)
