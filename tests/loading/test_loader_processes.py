"""Worker processes that are killed, hang, fail or lose their parent: one clear error in time, none left behind."""

import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shardwright import DamageError, Loader, ShardDataset, ShardwrightError
from shardwright.loading import worker_pool
from tests.support.loader.sets import brighten, write_images, write_numbers
from tests.support.loader.transforms import Act, describe_process, make_kinds
from tests.support.processes import list_children, read_proc, wait_until_gone

pytestmark = pytest.mark.slow

COUNT, BATCH = 40, 4
CHECKOUT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 15)
    return root


@pytest.fixture
def data(root: Path) -> Iterator[ShardDataset]:
    with ShardDataset(root, "train") as opened:
        yield opened


def list_numbers(batches: Any) -> list[int]:
    return [n for batch in batches for n in batch["n"].tolist()]


@LINUX
def test_a_killed_worker_is_named_and_the_epoch_can_be_resumed(data: ShardDataset) -> None:
    loader = Loader(data.with_transform(Act("doze")), 1, shuffle=True, processes=2)
    whole = list_numbers(Loader(data, 1, shuffle=True))
    seen, pids = [], set[int]()
    with pytest.raises(ShardwrightError) as caught:  # noqa: PT012 (the loop is what raises)
        for step, batch in enumerate(loader):
            seen += batch["n"].tolist()
            pids.update(batch["pid"].tolist())
            if step == 2:
                victim = batch["pid"][0].item()
                os.kill(victim, signal.SIGKILL)
    assert f"{victim} was killed by SIGKILL" in str(caught.value)
    wait_until_gone(pids)
    assert seen == whole[: len(seen)]
    state = json.loads(json.dumps(loader.state_dict()))
    assert state["position"] == len(seen) < COUNT
    loader.load_state_dict(state)  # the same loader resumes, with new workers
    rest = list(loader)
    assert seen + list_numbers(rest) == whole
    pids = {pid for batch in rest for pid in batch["pid"].tolist()}
    loader.close()
    wait_until_gone(pids)


@LINUX
@pytest.mark.parametrize("processes", [1, 2])
def test_a_worker_that_hangs_is_killed_and_named(data: ShardDataset, processes: int) -> None:
    whole = list_numbers(Loader(data, BATCH, shuffle=False))
    hanging = data.with_transform(Act("hang", "00022"))
    loader = Loader(hanging, BATCH, shuffle=False, processes=processes, timeout=5)
    seen, pids = [], set[int]()
    with pytest.raises(ShardwrightError, match=r"returned no batch within 5 s") as caught:  # noqa: PT012 (as above)
        for batch in loader:
            seen += batch["n"].tolist()
            pids.update(batch["pid"].tolist())
    assert any(str(pid) in str(caught.value) for pid in pids)
    wait_until_gone(pids)
    assert seen == whole[:20]
    resumed = Loader(data.with_transform(Act()), BATCH, shuffle=False)
    resumed.load_state_dict(loader.state_dict())
    assert seen + list_numbers(resumed) == whole


def test_batches_of_an_abandoned_epoch_do_not_count_towards_the_timeout(
    data: ShardDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "END_SECONDS", 0.1)
    with Loader(data.with_transform(Act("nap")), 10, shuffle=False, processes=1, timeout=4) as loader:
        list(islice(loader, 1))  # abandons two batches of 1.5 s each
        assert list_numbers(islice(loader, 1)) == list(range(10))


@LINUX
def test_closing_does_not_wait_for_a_worker_that_hangs(data: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "END_SECONDS", 0.3)
    with Loader(data.with_transform(Act("hang", "00022")), BATCH, shuffle=False, processes=2) as loader:
        pids = {pid for batch in islice(loader, 5) for pid in batch["pid"].tolist()}
    wait_until_gone(pids)


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("kill", ShardwrightError, "was killed by SIGKILL"),
        ("exit", ShardwrightError, "ended with exit code 3"),
        ("interrupt", TimeoutError, "raised by the data"),
        ("odd", ShardwrightError, "OddError: 1 and 2"),
        ("unreadable", ShardwrightError, "cannot be unpickled: ValueError: invalid literal"),
    ],
)
def test_a_transform_that_fails(data: ShardDataset, what: str, kind: type[Exception], message: str) -> None:
    source = data.with_transform(Act(what, "00009"))
    with Loader(source, BATCH, shuffle=False, processes=1, timeout=30) as loader:
        batches = iter(loader)
        assert list_numbers(islice(batches, 2)) == list(range(8))
        with pytest.raises(kind, match=message) as caught:
            next(batches)
        assert type(caught.value) is kind
        if what in ("interrupt", "odd"):
            assert any("'00009'" in note for note in caught.value.__notes__)
        assert loader.state_dict()["position"] == 2
        assert list_numbers(islice(loader, 2)) == list(range(8))  # a new epoch, with new workers if they died


def test_damage_is_located_across_processes(tmp_path: Path) -> None:
    write_numbers(tmp_path, COUNT, 15)
    shard = tmp_path / "train" / "train-000001.tar"
    content = bytearray(shard.read_bytes())
    content[512 + 128] ^= 1
    shard.write_bytes(content)
    with ShardDataset(tmp_path, "train") as data:
        with Loader(data, BATCH, shuffle=False, processes=1) as loader, pytest.raises(DamageError) as caught:
            list(loader)
        error = caught.value
        assert (error.shard, error.sample, error.field, error.offset) == ("train-000001.tar", "00015", "n", 512)
        with Loader(data, BATCH, shuffle=False, processes=1, on_error="skip") as loader:
            valid = [n for batch in loader for n in batch["n"][batch["valid"]].tolist()]
            assert valid == [n for n in range(COUNT) if n != 15]
            assert [(skip.row, skip.sample, skip.offset) for skip in loader.skipped] == [(15, "00015", 512)]


def test_a_transform_that_cannot_be_pickled_is_refused(data: ShardDataset) -> None:
    def local(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return sample

    for function in (local, lambda sample, rng: sample):
        loader = Loader(data.with_transform(function), BATCH, shuffle=False, processes=1)
        with pytest.raises(TypeError, match="cannot be sent to processes"):
            next(iter(loader))


def test_a_missing_dataset_is_the_error_of_the_worker(tmp_path: Path) -> None:
    write_numbers(tmp_path, 8, 8)
    with ShardDataset(tmp_path, "train") as data, Loader(data, BATCH, shuffle=False, processes=1) as loader:
        (tmp_path / "dataset.json").unlink()
        with pytest.raises(FileNotFoundError, match=r"dataset\.json"):
            next(iter(loader))


PARENT = """
import sys
import time
from shardwright import Loader, ShardDataset
from tests.support.loader.transforms import Act

if __name__ == "__main__":
    loader = Loader(ShardDataset(sys.argv[1], "train").with_transform(Act("hang", sys.argv[2])), 1, shuffle=False,
                    processes=2)
    for step, batch in enumerate(loader):
        print(batch["pid"].item(), flush=True)
        if step == 19:
            time.sleep(3600)
"""


@LINUX
@pytest.mark.parametrize("hangs_at", ["00022", "no sample"])
def test_workers_end_with_a_parent_that_is_killed(root: Path, tmp_path: Path, hangs_at: str) -> None:
    """Whether they are reading then, or wait for a parent that takes no more batches."""
    (tmp_path / "parent.py").write_text(PARENT)
    command = [sys.executable, str(tmp_path / "parent.py"), str(root), hangs_at]
    with subprocess.Popen(
        command, cwd=CHECKOUT, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = {int(line) for line in islice(parent.stdout, 20)}
        children = list_children(parent.pid)
        maps = [read_proc(pid, "maps") or "" for pid in pids]
        parent.kill()
        assert parent.wait() == -signal.SIGKILL
    assert pids <= set(children)
    assert all("memfd:" in text and "/dev/shm" not in text for text in maps)  # so that nothing can be left there
    wait_until_gone(children)


@pytest.mark.sweep
def test_all_kinds_of_numbers_are_the_same_from_processes_and_threads(data: ShardDataset) -> None:
    source = data.with_transform(make_kinds)
    with Loader(source, BATCH, shuffle=True, processes=2) as loader:
        for found, expected in zip(loader, Loader(source, BATCH, shuffle=True), strict=True):
            assert list(found) == list(expected)
            for name in ("half", "complex", "array", "unsigned"):
                assert found[name].dtype == expected[name].dtype
                assert torch.equal(found[name], expected[name])
            assert isinstance(expected["array"], torch.Tensor)
            np.testing.assert_array_equal(found["long"], expected["long"])
            for one, other in zip(found["ragged"], expected["ragged"], strict=True):
                assert torch.equal(one[0], other[0])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("images")
    write_images(root, 61)
    with ShardDataset(root, "train") as opened:
        yield opened


@pytest.mark.parametrize("slot_bytes", [1 << 30, 1 << 20, mmap.ALLOCATIONGRANULARITY])
def test_batches_that_are_held_are_not_written_to(
    images: ShardDataset, monkeypatch: pytest.MonkeyPatch, slot_bytes: int
) -> None:
    """Also where more are held than there are slots, and where a batch of 0.8 MB, or two of its arrays, need more."""
    monkeypatch.setattr(worker_pool, "SLOT_BYTES", slot_bytes)
    source = images.with_transform(brighten)
    reference = Loader(source, 16, shuffle=True, threads=1)
    expected = [batch for _ in range(6) for batch in reference]
    with Loader(source, 16, shuffle=True, processes=2) as loader:
        held = [batch for _ in range(6) for batch in loader]
        views = [batch["image"][3:5].numpy() for _ in range(6) for batch in loader]
        del views
    assert len(held) == len(expected) == 24
    for found, batch in zip(held, expected, strict=True):
        assert found["key"] == batch["key"]
        assert torch.equal(found["image"], batch["image"])
        assert torch.equal(found["spectrum"], batch["spectrum"])


def test_workers_compute_with_one_thread_and_without_what_they_do_not_need(images: ShardDataset) -> None:
    with Loader(images.with_transform(describe_process), 16, shuffle=True, processes=2) as loader:
        batches = list(loader)
    assert not any(torch_was_loaded for batch in batches for torch_was_loaded in batch["torch_was_loaded"].tolist())
    assert {n for batch in batches for n in batch["opencv_threads"].tolist()} == {1}
    assert {tuple(names) for batch in batches for names in batch["threads"]} == {("1", "1", "1")}
    assert len({pid for batch in batches for pid in batch["pid"].tolist()}) == 2
    assert len({parent for batch in batches for parent in batch["parent"].tolist()}) == 1
    assert os.environ.get("OPENCV_FOR_THREADS_NUM") is None
