"""The same inputs and params give the same bytes, wherever and however they run, and however often they are killed."""

import random
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.checkouts import UP_TO_EXTRACT, Checkout, Surroundings, make_checkout
from tests.support.demo_run import CHANGES, Run
from tests.support.dvc_checkout import PRIMITIVE, DvcCheckout
from tests.support.processes import list_processes_in
from tests.support.running import DEMO_THINGS, hash_files
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

PLAIN = Surroundings("here", 0, environment={"LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0"})

STRANGE = Surroundings(
    "somewhere else/ü b",
    2,
    0o077,
    {
        "HOME": "/nonexistent",
        "LC_ALL": "tr_TR.UTF-8",
        "OMP_NUM_THREADS": "3",
        "PYTHONHASHSEED": "4242",
        "TZ": "Pacific/Kiritimati",
    },
)

PLACES = (PLAIN, STRANGE, Surroundings("a", 1, 0o002, PRIMITIVE))

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

KILLED = ("crawl", "clean", "extract")


def run_until_extract(checkout: Checkout) -> Checkout:
    """All stages up to the shards."""
    for stage in UP_TO_EXTRACT:
        checkout.run_stage(stage)
    return checkout


def list_differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def list_outputs(hashes: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of the files of the stages that run until extract."""
    return {path: digest for path, digest in hashes.items() if path[0] in "012345"}


def test_other_surroundings_give_the_same_bytes(run: Run, checkout: DvcCheckout, tmp_path: Path) -> None:
    """In this process; by DVC on one worker in a primitive environment; on two workers in a strange one."""
    expected = list_outputs(hash_files(run.data))
    assert {path[0] for path in expected} == set("012345")
    assert list_differences(expected, list_outputs(checkout.hashes)) == []
    strange = make_checkout(tmp_path, STRANGE, **CHANGES)
    assert list_differences(expected, run_until_extract(strange).hash_outputs()) == []


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """What an undisturbed run gives."""
    return run_until_extract(make_checkout(tmp_path_factory.mktemp("plain"), PLAIN, **CHANGES))


def copy_before(plain: Checkout, stage: str, parent: Path) -> Checkout:
    """A copy of the checkout, with one worker, in which all stages before `stage` have run and no others."""
    copied = Checkout(parent / "copy", plain.surroundings)
    shutil.copytree(plain.folder, copied.folder, ignore=shutil.ignore_patterns("__pycache__", ".cache", "tmp"))
    for out in copied.data.glob("[0-9]_*"):
        if int(out.name[0]) >= UP_TO_EXTRACT.index(stage):
            shutil.rmtree(out)
    params = (copied.folder / "params.yaml").read_text(encoding="utf-8")
    assert "workers: 0" in params
    (copied.folder / "params.yaml").write_text(params.replace("workers: 0", "workers: 1"), encoding="utf-8")
    return copied


def kill_at_work(checkout: Checkout, stage: str, seconds: float) -> bool:
    """Kill the stage, as nothing can prevent, so long after it began its work; says if it was still at it then."""
    with checkout.start_stage(stage) as process:
        while process.poll() is None and not any(checkout.folder.glob(".cache/work/*")):
            time.sleep(0.01)
        time.sleep(seconds)
        caught = process.poll() is None
        process.kill()
    wait_for(lambda: not list_processes_in(checkout.folder))
    return caught


def check_killed(plain: Checkout, stage: str, parent: Path, seconds: float) -> bool:
    """Kill the stage and let it run again: the bytes are those of an undisturbed run, and nothing else is left."""
    checkout = copy_before(plain, stage, parent)
    caught = kill_at_work(checkout, stage, seconds)
    checkout.run_stage(stage)
    number = UP_TO_EXTRACT.index(stage)
    expected = {path: digest for path, digest in plain.hash_outputs().items() if int(path[0]) <= number}
    assert list_differences(expected, checkout.hash_outputs()) == []
    assert list((checkout.folder / ".cache/work").iterdir()) == []
    kept = [path.name for path in (checkout.folder / ".cache").rglob("*") if path.is_file()]
    whole = re.compile(
        r"[0-9a-f]{32}\.(pack|tar)(\.rows)?|[0-9]{20}-[0-9a-f]{8}\.answers|[0-9a-f]{32}\.(arrays|arrow)|\.lock"
    )
    assert [name for name in kept if not whole.fullmatch(name)] == []
    temporary = [path.name for path in (checkout.folder / "tmp").rglob("*") if path.is_file()]
    assert sorted(name for name in temporary if not name.endswith(".lock")) == []  # Dask keeps two locks
    return caught


@LINUX
@pytest.mark.sweep
@pytest.mark.parametrize("stage", KILLED)
def test_killed_at_twenty_moments(plain: Checkout, stage: str, tmp_path: Path) -> None:
    draw = random.Random(stage)
    moments = sorted(draw.uniform(0, 4) for _ in range(20))
    caught = [check_killed(plain, stage, tmp_path / str(number), moment) for number, moment in enumerate(moments)]
    print(
        f"\n{stage}: killed at work {sum(caught)} of {len(moments)} times, {moments[0]:.2f} to {moments[-1]:.2f} s in"
    )


@pytest.mark.sweep
def test_the_whole_demo_on_any_number_of_workers(tmp_path: Path) -> None:
    everywhere = [replace(here, workers=workers) for here in PLACES for workers in (0, 1, 2, 4)]
    checkouts = [
        make_checkout(tmp_path / str(number), surroundings, **{DEMO_THINGS: 600})
        for number, surroundings in enumerate(everywhere)
    ]
    expected: dict[str, str] = {}
    print("\nworkers  folder               umask  seconds  files")
    for checkout in checkouts:
        start = time.monotonic()
        found = run_until_extract(checkout).hash_outputs()
        expected = expected or found
        assert list_differences(expected, found) == []
        used = checkout.surroundings
        seconds = time.monotonic() - start
        print(f"{used.workers:>7}  {used.folder:<19}  {used.umask:05o}  {seconds:7.1f}  {len(found)}")
        shutil.rmtree(checkout.folder)
