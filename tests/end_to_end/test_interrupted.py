"""After a kill, a failing disk or edited code, finished work is reused, and the bytes are those of a whole run."""

import errno
import io
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from tests.support.checkouts import Checkout, Surroundings, make_checkout
from tests.support.cleaning import ingest_files
from tests.support.cleaning import make_things as make_files
from tests.support.dvc_checkout import change_param
from tests.support.factory_extract import make_params, make_things, run_extract, write_corpus
from tests.support.processes import list_processes_in
from tests.support.running import hash_files
from tests.support.waiting import wait_for
from tests.support.wrapped_files import WrappedFile

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")

COUNTER = """

def _count(function):
    import os
    import time

    def counted(*arguments):
        result = function(*arguments)
        time.sleep(0.004)
        with open(os.environ["COUNTED"], "ab", buffering=0) as file:
            file.write(b".")
        return result

    counted.__module__ = function.__module__
    return counted


{name} = _count({name})
"""
"""Appended to the code of a checkout: a byte for each item that was computed, which takes as long as real ones do."""

COUNTED = {
    "extract": ("pipeline/extract/feature_entry.py", "compute_entry"),
    "clean": ("pipeline/clean/check_entry.py", "compute_check"),
}
OUTPUTS = {"extract": ("5_shards", "5_extract"), "clean": ("3_cleaned",)}


@dataclass(frozen=True)
class Case:
    """What a stage has to do: `things` of three items each. Under way are `under_way` items at most with 2 workers."""

    stage: str
    things: int
    under_way: int
    shards: int | None = None


CASES = {
    "extract": Case("extract", 40, under_way=2),
    "extract with shards": Case("extract", 100, under_way=16, shards=64),  # features are computed with their shards
    "clean": Case("clean", 40, under_way=2),
}


@dataclass(frozen=True)
class Counted:
    """A checkout whose stage counts the items that it computes."""

    checkout: Checkout
    stage: str

    def read_count(self) -> int:
        """How many items were computed so far, in all runs."""
        path = Path(self.checkout.surroundings.environment["COUNTED"])
        return path.stat().st_size if path.exists() else 0

    def hash_outputs(self) -> dict[str, str]:
        """What the stage wrote."""
        return {
            f"{folder}/{path}": digest
            for folder in OUTPUTS[self.stage]
            for path, digest in hash_files(self.checkout.data / folder).items()
        }

    def reset(self) -> None:
        """Forget the outputs and the cache."""
        shutil.rmtree(self.checkout.folder / ".cache", ignore_errors=True)
        Path(self.checkout.surroundings.environment["COUNTED"]).unlink(missing_ok=True)
        for folder in OUTPUTS[self.stage]:
            shutil.rmtree(self.checkout.data / folder, ignore_errors=True)

    def run(self, workers: int) -> None:
        """Run the stage to its end."""
        change_param(self.checkout.folder, ("run", "workers"), workers)
        self.checkout.run_stage(self.stage)

    def kill(self, is_time: Callable[[int], bool]) -> int:
        """Start the stage with 2 workers, and kill it as soon as `is_time` says so of the number of items computed.

        Returns that number; -1 where the stage ended before.
        """
        change_param(self.checkout.folder, ("run", "workers"), 2)
        with self.checkout.start_stage(self.stage) as process:
            while process.poll() is None and not is_time(self.read_count()):
                time.sleep(0.002)
            caught = process.poll() is None
            process.kill()
        wait_for(lambda: not list_processes_in(self.checkout.folder))
        return self.read_count() if caught else -1


def make_counted(folder: Path, case: Case) -> Counted:
    """A checkout with something for the stage to do."""
    stage, things = case.stage, case.things
    surroundings = Surroundings(environment={"COUNTED": str(folder / "counted")})
    small = {"extract__shard_bytes": 1 << 20, "extract__shards": case.shards, "extract__max_dropped": 0.5}
    checkout = make_checkout(folder, surroundings, **small)
    path, name = COUNTED[stage]
    with (checkout.folder / path).open("a") as file:
        file.write(COUNTER.replace("{name}", name))
    if stage == "extract":
        write_corpus(checkout.data, make_things(things))
    else:
        mails = {
            f"mail-{number}.txt": f"Ask a{number}@example.org, thing {number}.".encode() for number in range(things)
        }
        ingest_files(checkout.folder, make_files(things) | mails)
        shutil.rmtree(checkout.folder / "work", ignore_errors=True)
    return Counted(checkout, stage)


def check_kill(
    counted: Counted, is_time: Callable[[int], bool], whole: dict[str, str], items: int, workers: int
) -> tuple[int, int]:
    """Kill the stage once and let it run again with so many workers: the bytes are those of `whole`, and nothing else
    is left. Returns how many items were done when it was killed, and how many of them were done again."""
    counted.reset()
    done = counted.kill(is_time)
    counted.run(workers)
    assert counted.hash_outputs() == whole
    cache = counted.checkout.folder / ".cache"
    assert list((cache / "work").iterdir()) == []
    names = [path.name for path in cache.rglob("*") if path.is_file()]
    whole_name = re.compile(r"[0-9a-f]{32}\.((pack|tar)(\.rows)?|arrays)|\.lock")
    assert [name for name in names if not whole_name.fullmatch(name)] == []
    temporary = [path.name for path in (counted.checkout.folder / "tmp").rglob("*") if path.is_file()]
    assert [name for name in temporary if not name.endswith("lock")] == []  # Dask keeps those of killed workers
    return done, counted.read_count() - items


@LINUX
@pytest.mark.parametrize("name", ["extract with shards", "clean"])  # without shards extract runs on clean's engine
def test_work_finished_before_a_kill_is_not_repeated(name: str, tmp_path: Path) -> None:
    """Killed on two workers: the runs before and after need none, whose start takes longer than the work."""
    counted = make_counted(tmp_path, CASES[name])
    counted.run(workers=0)
    whole, items = counted.hash_outputs(), counted.read_count()
    done, again = check_kill(counted, lambda count: count >= items // 2, whole, items, workers=0)
    assert done >= items // 2
    assert again <= 0.2 * done


@LINUX
@pytest.mark.sweep
@pytest.mark.parametrize(("name", "kills"), [("extract", 200), ("extract with shards", 100), ("clean", 60)])
def test_killed_at_many_moments(name: str, kills: int, tmp_path: Path) -> None:
    case = CASES[name]
    counted, draw = make_counted(tmp_path, case), random.Random(name)
    start = time.monotonic()
    counted.run(workers=2)
    length = time.monotonic() - start
    whole, items = counted.hash_outputs(), counted.read_count()
    outcomes = []
    for _ in range(kills):
        moment = time.monotonic() + draw.uniform(0, 1.1 * length)
        outcomes.append(check_kill(counted, lambda _, at=moment: time.monotonic() >= at, whole, items, 2))  # type: ignore[misc]
    caught = [(done, again) for done, again in outcomes if done >= 0]
    least = 5 * case.under_way
    working = [(done, again) for done, again in caught if done >= least]
    worst = max((again / done for done, again in working), default=0.0)
    total = sum(again for _, again in working) / max(1, sum(done for done, _ in working))
    print(
        f"\n| {name} | kills | before its end | with {least} items or more done | done again, worst | done again, all |"
    )
    print("| --- " * 6 + "|")
    print(f"| {items} items | {kills} | {len(caught)} | {len(working)} | {worst:.1%} | {total:.1%} |")
    assert worst <= 0.2


# A disk that refuses


class Disk:
    """Fails at the call number `fail_at` of any that writes, renames, links, removes or syncs."""

    def __init__(self, fail_at: int, number: int, patch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._fail_at = fail_at
        self._number = number
        for name in ("rename", "replace", "link", "fsync", "utime", "mkdir"):
            patch.setattr(os, name, self._wrap(getattr(os, name)))
        opened = io.open

        def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            handle = opened(file, mode, *arguments, **options)
            return WrappedFile(handle, self._write) if set(mode) & set("wxa") and "b" in mode else handle

        patch.setattr(io, "open", open_file)

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise OSError(self._number, os.strerror(self._number))

    def _write(self, file: Any, data: bytes) -> int:
        try:
            self._call()
        except OSError:
            file.write(data[: len(data) // 2])  # a short write, as a full disk makes it
            raise
        return int(file.write(data))

    def _wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._call()
            return function(*arguments, **options)

        return call


def fail_extract(folder: Path, fail_at: int, number: int) -> bool:
    """Run extract on a disk that fails at one call, then on a sound one; says if the call was reached."""
    things, params = make_things(4), make_params(shards=1)
    write_corpus(folder / "data", things)
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(fail_at, number, patch)
        with suppress(OSError, PipelineError):
            run_extract(folder, params)
    reached = disk.calls >= fail_at
    run_extract(folder, params)
    assert not list((folder / "cache/work").iterdir())
    assert not list(folder.rglob("*.partial"))
    return reached


def walk_calls(step: int, expected: dict[str, str], folder: Path) -> Iterator[int]:
    """Every `step`th call of a run, until one is not reached any more."""
    number = 1
    while True:
        place = folder / str(number)
        place.mkdir()
        reached = fail_extract(place, number, random.Random(number).choice([errno.ENOSPC, errno.EIO, errno.EDQUOT]))
        assert {path: sha for path, sha in hash_files(place / "data").items() if path[0] == "5"} == expected
        shutil.rmtree(place)
        if not reached:
            return
        yield number
        number += step


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, str]:
    write_corpus(tmp_path / "whole/data", make_things(4))
    run_extract(tmp_path / "whole", make_params(shards=1))
    return {path: sha for path, sha in hash_files(tmp_path / "whole/data").items() if path[0] == "5"}


def test_a_disk_that_fails_at_some_call_spoils_nothing(tmp_path: Path, expected: dict[str, str]) -> None:
    assert len(list(walk_calls(31, expected, tmp_path))) > 3


@pytest.mark.sweep
def test_a_disk_that_fails_at_any_call_spoils_nothing(tmp_path: Path, expected: dict[str, str]) -> None:
    calls = len(list(walk_calls(1, expected, tmp_path)))
    print(f"\nextract: failed at each of {calls} writes, renames, links, syncs; the next run gave the same bytes")


# Edited code

HASH = """
import sys
from pathlib import Path
from pipeline.extract.plan_fields import PartKind, plan_fields
from pipeline.extract.cached_shards import hash_assembly, list_code
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import hash_features
from pipeline.modalities.table import MODALITIES
from pipeline.config.check_params import check_block, read_params
from pipeline.incremental.module_sources import find_imports

params = check_block(read_params(Path("params.yaml")), "extract", ExtractParams)
plan = plan_fields({name: PartKind(name) for name in MODALITIES}, (), params, None)


def hash_all():
    return {name: hash_features(name, plan) for name in MODALITIES} | {"shards": hash_assembly(plan, None, list_code())}


before = hash_all()
for path in map(Path, sys.argv[1:]):
    text = path.read_text()
    path.write_text(text + "\\n# edited\\n")
    find_imports.cache_clear()
    print(path, *[name for name, hashed in hash_all().items() if hashed != before[name]])
    path.write_text(text)
"""

EDITS = {
    "pipeline/modalities/native_stderr.py": "image audio video",
    "pipeline/modalities/audio/numpy_features.py": "audio video",
    "pipeline/modalities/audio/decode.py": "audio video",
    "pipeline/formats/image/jpeg.py": "image",
    "pipeline/modalities/text/words.py": "text shards",
    "pipeline/modalities/text/placeholders.py": "text shards",
    "pipeline/privacy/redact_text.py": "shards",
    "pipeline/modalities/text/vocabulary.py": "shards",
    "pipeline/modalities/text/byte_pairs.py": "shards",
    "pipeline/modalities/text/tokenizer_file.py": "shards",
    "pipeline/modalities/modality.py": "image audio text video shards",
    "pipeline/extract/feature_entry.py": "image audio text video shards",
    "pipeline/extract/field_statistics.py": "image audio text video shards",
    "shardwright/format/field.py": "image audio text video shards",
    "pipeline/modalities/video/features.py": "video",
    "pipeline/modalities/video/soundtrack.py": "video",
    "pipeline/formats/video/mp4.py": "audio video",
    "pipeline/runtime/dask_executor.py": "",
    "pipeline/extract/make_shard.py": "shards",
    "pipeline/extract/samples.py": "shards",
    "pipeline/extract/plan_shards.py": "shards",
    "pipeline/incremental/evict.py": "",
    "pipeline/clean/near_duplicates.py": "",
    "shardwright/loading/loader.py": "",
}
"""Files, and the modalities whose features an edit computes anew, and whether shards are put together anew."""


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_checkout(tmp_path_factory.mktemp("edited"), extract__shard_bytes=1 << 20)
    write_corpus(checkout.data, make_things(8))
    return checkout


def test_an_edit_is_seen_by_the_modalities_that_run_it(edited: Checkout) -> None:
    program = [sys.executable, "-c", HASH, *EDITS]
    said = subprocess.run(program, cwd=edited.folder, capture_output=True, text=True, check=True).stdout
    lines = [line.partition(" ") for line in said.splitlines()]
    assert {path: names for path, _, names in lines} == EDITS


def test_edited_code_recomputes_its_own_modality(edited: Checkout) -> None:
    assert "features: 0 reused, 24 computed" in edited.run_stage("extract")
    whole = hash_files(edited.data / "5_shards")
    path = edited.folder / "pipeline/modalities/audio/numpy_features.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert "features: 16 reused, 8 computed (8 audio)" in edited.run_stage("extract")
    assert hash_files(edited.data / "5_shards") == whole
