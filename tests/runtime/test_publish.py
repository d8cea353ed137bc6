"""Publishing the outputs of a stage: all of them under their names, or none."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.runtime.run_stage import Workspace, open_workspace, publish
from tests.support.running import hash_files

pytestmark = pytest.mark.slow


@pytest.fixture(params=["the same disk", "another disk"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """A workspace whose cache is on the disk of its data, or on another."""
    cache = tmp_path / "cache"
    if request.param == "another disk":
        other = Path("/dev/shm")
        if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no second file system at /dev/shm")
        cache = Path(tempfile.mkdtemp(dir=other))
    run = RunParams(workers=0, memory="1 GiB", cache=str(cache), progress=False)
    with open_workspace("clean", tmp_path / "data", run) as workspace:
        yield workspace
    shutil.rmtree(cache)


def make_out(workspace: Workspace, name: str, content: str) -> None:
    (workspace.work / name / "below").mkdir(parents=True, exist_ok=True)
    (workspace.work / name / "below" / "file").write_text(content)


def test_publishing_replaces_what_was_there(workspace: Workspace) -> None:
    make_out(workspace, "out", "old")
    publish(workspace, ["out"])
    kept = workspace.data.parent / "kept"
    kept.hardlink_to(workspace.data / "out/below/file")
    kept.chmod(0o444)  # as DVC leaves its outputs: read-only, one file under two names
    make_out(workspace, "out", "new")
    publish(workspace, ["out"])
    assert hash_files(workspace.data / "out") == {"below/file": hashlib.sha256(b"new").hexdigest()}
    assert kept.read_text() == "old"
    assert sorted(path.name for path in workspace.data.iterdir()) == [".lock", "out"]


def test_leftovers_of_a_killed_run_do_not_get_in(workspace: Workspace) -> None:
    for name in (".out.new", ".out.old"):
        (workspace.data / name).mkdir()
        (workspace.data / name / "half").touch()
    make_out(workspace, "out", "new")
    publish(workspace, ["out"])
    assert list(hash_files(workspace.data / "out")) == ["below/file"]
    assert sorted(path.name for path in workspace.data.iterdir()) == [".lock", "out"]


def test_all_outputs_are_published_or_none(workspace: Workspace) -> None:
    make_out(workspace, "first", "new")
    with pytest.raises(FileNotFoundError):
        publish(workspace, ["first", "second"])
    assert [path.name for path in workspace.data.iterdir()] == [".lock"]
