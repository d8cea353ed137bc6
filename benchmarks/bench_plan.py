"""How the drivers of clean and extract grow with the tables, with nothing to compute: 300,000, 1,000,000 and 3,300,000.

    python -m benchmarks.bench_plan [--clean 300000,1000000,3300000] [--extract 300000,1000000,3300000]

Clean has as many items, extract as many samples of three items, without their files (see
`benchmarks.support.aligned_corpus`) and with a cache that has all that was computed of them
(`benchmarks.support.cached_corpus`). Each run is a process of its own. Time is of the driver and all its threads;
memory is what the process has for itself, looked at every 20 ms. The search for near-duplicates is among noise, where
it is quick: `benchmarks.bench_near` has the real one. Writes `benchmarks/results/plan.md`.
"""

import argparse
import math
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.bench_scale import read_own_bytes
from benchmarks.support.aligned_corpus import write_corpus
from benchmarks.support.apart import run_apart, write_outcome
from benchmarks.support.cached_corpus import fill_checks, fill_features, write_samples
from benchmarks.support.copies import CHECKOUT
from pipeline.clean.check_items import request_checks
from pipeline.clean.params import CleanParams
from pipeline.clean.step import CheckRun
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.extract.build_dataset import DatasetBuild
from pipeline.extract.extractor import ExtractFolders, Recipe
from pipeline.extract.learn_vocabulary import plan_counting
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import plan_corpus
from pipeline.extract.provenance import list_sources
from pipeline.incremental.evict import ObjectUse, evict
from pipeline.incremental.published_tar import SUFFIX
from pipeline.incremental.stage_folders import StageFolders
from pipeline.runtime.run_stage import Workspace
from pipeline.runtime.serial_executor import SerialExecutor
from pipeline.tables.contracts import CLEANED_FOLDER
from pipeline.tables.database import open_database
from pipeline.tables.dropped_rows import DroppedRows

RESULT = CHECKOUT / "benchmarks/results/plan.md"
LOOK = 0.02
TASKS = 100
PARTS = 3
MEMORY = {"clean": "1 GB", "extract": "256 MB"}

Phases = dict[str, dict[str, float]]
"""Of each phase in order: seconds by the clock, seconds of CPU, most bytes meanwhile."""


class Recorder:
    """Times phases, and looks at the memory of this process meanwhile."""

    def __init__(self) -> None:
        self.phases: Phases = {}
        self._peak, self._ended = 0, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            self._peak = max(self._peak, read_own_bytes("self"))

    @contextmanager
    def record(self, name: str) -> Iterator[None]:
        """Record a phase."""
        self._peak = read_own_bytes("self")
        start, started = time.perf_counter(), time.process_time()
        yield
        seconds, cpu = time.perf_counter() - start, time.process_time() - started
        self.phases[name] = {"seconds": seconds, "cpu": cpu, "peak": max(self._peak, read_own_bytes("self"))}

    def finish(self) -> None:
        """Hand over what was recorded."""
        self._ended.set()
        self._watcher.join()
        write_outcome({"phases": self.phases, "resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


def choose_run(stage: str, memory: str | None = None) -> RunParams:
    """Return how to run; the cache has room for the holes."""
    return RunParams(workers=2, progress=False, table_memory=memory or MEMORY[stage], cache_bytes=2**50)


def check_clean() -> CleanParams:
    return check_block(read_effective_params(CHECKOUT / "params.yaml"), "clean", CleanParams)


def check_extract() -> ExtractParams:
    return check_block(read_effective_params(CHECKOUT / "params.yaml"), "extract", ExtractParams)


def make_clean(root: Path, items: int) -> None:
    """Write the tables, unless they are there, and fill the cache for clean."""
    folders = StageFolders(root / "data", root / "cache", root / "work")
    if not folders.data.exists():
        write_corpus(folders.data, items, lost=0)
    with open_database(folders.work, choose_run("clean", "2 GB")) as database:
        request_checks(database, folders.data, check_clean())
        fill_checks(database, folders.objects, folders.work)


def make_extract(root: Path, samples: int) -> None:
    """Write the tables, unless they are there, and fill the cache for extract."""
    folders = ExtractFolders(root / "data", root / "cache", root / "work")
    if not folders.data.exists():
        write_samples(folders.data, write_corpus(folders.data, samples * PARTS, lost=0))
    with open_database(folders.work, choose_run("extract", "2 GB")) as database:
        corpus = plan_corpus(database, folders, check_extract())
        fill_features(database, corpus, folders.objects, folders.work)


def plan_clean(root: Path, memory: str) -> None:
    """Run clean's driver."""
    folders = StageFolders(root / "data", root / "cache", root / "work")
    run, params, recorder = choose_run("clean", memory), check_clean(), Recorder()
    (folders.work / CLEANED_FOLDER).mkdir(parents=True)
    with open_database(folders.work, run) as database:
        with recorder.record("requests and look-up"):
            checks = CheckRun(database, folders, params, Workspace(folders.data, folders.work, folders.cache, run))
        with recorder.record("verdicts, tars"):
            checks.check_all()
        with recorder.record("clusters, cleaned table"):
            checks.write()
        with recorder.record("dropped rows, notes"):
            checks.write_dropped()
            note, *_ = checks.describe()
        assert note.endswith(" 0 computed"), note
    with recorder.record("eviction"):
        evict(folders.objects, checks.use, run.cache_bytes)
    recorder.finish()


def plan_extract(root: Path, memory: str) -> None:
    """Run extract's driver."""
    folders = ExtractFolders(root / "data", root / "cache", root / "work")
    run, params, recorder = choose_run("extract", memory), check_extract(), Recorder()
    with open_database(folders.work, run) as database:
        with recorder.record("corpus, item rows"):
            corpus = plan_corpus(database, folders, params)
        use = ObjectUse()
        with recorder.record("look-up"):
            build = DatasetBuild(database, corpus, folders, run, use)
        with recorder.record("missing"):
            build.compute_missing(SerialExecutor(run))
        assert corpus.learner is not None
        with recorder.record(f"{TASKS} tasks that count words"):
            walk(plan_counting(database, corpus.plan, folders, build._lookup.names, {}))
        with recorder.record(f"{TASKS} tasks of shards"):
            walk(build.plan_shard_tasks(folders.work, Recipe(corpus.plan, None, b"")))
        with recorder.record("sources, notes"):
            DroppedRows(database, "extract", "sample").write(folders.work)
            list_sources(database, corpus.keys)
            note, *_ = build.describe()
        assert note.endswith(" 0 computed"), note
        use.touched |= build._lookup.list_used()
        use.published |= {name for name in use.touched if name.endswith(SUFFIX)}
    with recorder.record("eviction"):
        evict(folders.objects, use, run.cache_bytes)
    recorder.finish()


def walk(tasks: Sequence[object]) -> None:
    """Make some tasks from all over."""
    for number in range(0, len(tasks), max(1, len(tasks) // TASKS)):
        tasks[number]


STAGES: Mapping[str, tuple[Callable[[Path, int], None], Callable[[Path, str], None]]] = {
    "clean": (make_clean, plan_clean),
    "extract": (make_extract, plan_extract),
}


def measure(stage: str, size: int, memory: str, keep: Path | None) -> dict[str, Any]:
    """Make tables of this size, and run the driver over them, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        root = (keep or Path(scratch)) / f"{stage}-{size}"
        module = "benchmarks.bench_plan"
        if not (root / "cache").exists():
            run_apart(module, "--make", stage, "--size", size, "--root", root)
        return run_apart(module, "--plan", stage, "--root", root, "--memory", memory)


def report(stage: str, memory: str, measured: Mapping[int, dict[str, Any]]) -> Iterator[str]:
    """The section of one stage: seconds of CPU, and by the clock, and MB of each phase."""
    sizes, unit = list(measured), {"clean": "items", "extract": "samples"}[stage]
    yield f"\n## {stage.capitalize()}, `run.table_memory` {memory}\n"
    yield "CPU seconds (seconds by the clock), MB at most meanwhile:\n"
    yield "| | " + " | ".join(f"{size:,} {unit}" for size in sizes) + " |"
    yield "| --- " * (len(sizes) + 1) + "|"
    for name in measured[sizes[0]]["phases"]:
        cells = []
        for size in sizes:
            phase = measured[size]["phases"][name]
            cells.append(f"{phase['cpu']:.1f} ({phase['seconds']:.1f}), {phase['peak'] / 1e6:.0f}")
        yield f"| {name} | " + " | ".join(cells) + " |"
    totals = [sum_phases(measured[size]) for size in sizes]
    cells = [f"{cpu:.1f} ({seconds:.1f}), {peak / 1e6:.0f}" for cpu, seconds, peak in totals]
    yield "| all | " + " | ".join(cells) + " |"
    cells = [f"{cpu / size * 1e6:.1f} µs" for (cpu, _, _), size in zip(totals, sizes, strict=True)]
    yield f"| CPU, one of the {unit} | " + " | ".join(cells) + " |"
    grown = [math.log(after[0] / before[0]) / math.log(large / small)
             for (before, after), (small, large) in zip(pairwise(totals), pairwise(sizes), strict=True)]  # fmt: skip
    yield "| CPU grows as | | " + " | ".join(f"n^{exponent:.2f}" for exponent in grown) + " |"
    cells = [f"{measured[size]['resident'] / 1e6:.0f} MB" for size in sizes]
    yield "| resident, with mapped files | " + " | ".join(cells) + " |"


def sum_phases(measured: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return the CPU seconds and the seconds of all phases, and the most bytes of any."""
    phases = measured["phases"].values()
    return sum(p["cpu"] for p in phases), sum(p["seconds"] for p in phases), max(p["peak"] for p in phases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for stage, memory in MEMORY.items():
        parser.add_argument(f"--{stage}", default="300000,1000000,3300000", help="sizes by commas; empty: none")
        parser.add_argument(f"--{stage}-memory", default=memory)
    parser.add_argument("--keep", type=Path, help="keep the tables in this folder, and use those that are there")
    parser.add_argument("--make", choices=STAGES)
    parser.add_argument("--plan", choices=STAGES)
    parser.add_argument("--size", type=int)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--memory")
    options = parser.parse_args()
    if options.make:
        (options.root / "work").mkdir(parents=True, exist_ok=True)
        STAGES[options.make][0](options.root, options.size)
        write_outcome({})
        return
    if options.plan:
        shutil.rmtree(options.root / "work", ignore_errors=True)
        (options.root / "work").mkdir()
        STAGES[options.plan][1](options.root, options.memory)
        return
    lines = [
        "# Plans with nothing to compute: growth with the tables",
        "",
        "`python -m benchmarks.bench_plan` made this.",
    ]
    for stage in STAGES:
        sizes, memory = getattr(options, stage), getattr(options, f"{stage}_memory")
        measured = {
            size: measure(stage, size, memory, options.keep) for size in map(int, filter(None, sizes.split(",")))
        }
        lines += report(stage, memory, measured) if measured else []
    text = "\n".join(lines) + "\n"
    RESULT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
