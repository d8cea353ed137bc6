"""How time and memory of align grow with the number of items: 100,000, 1,000,000, 3,000,000; in the driver, in buckets.

    python -m benchmarks.bench_align [--items 100000,1000000,3000000] [--buckets 0,12] [--memory "1 GB"]

Tables of an image, a clip and a caption a page, without their files (`benchmarks.support.aligned_corpus`): 1 % of the
items are lost, and 2 to 8 % repeat another. Each run is a process of its own with 2 threads, and 2 workers if there are
buckets; memory is the most that the driver, or one worker, had for itself. Writes `benchmarks/results/align.md`.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.bench_scale import LOOK, Peak, read_cpu
from benchmarks.support.aligned_corpus import write_corpus
from benchmarks.support.copies import CHECKOUT
from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.runtime.run_stage import Workspace, use_own_maps_for_arrays

RESULT = CHECKOUT / "benchmarks/results/align.md"
PARAMS = {"align": {"by": "page", "label": "page", "max_group": 1.0}}


@dataclass(frozen=True)
class Measured:
    """One run: seconds by the clock, CPU seconds of the driver and of the workers, the most MB of either."""

    items: int
    buckets: int
    samples: str
    seconds: float
    driver_cpu: float
    worker_cpu: float
    driver_megabytes: float = 0.0
    worker_megabytes: float = 0.0

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes."""
        return self.driver_cpu + self.worker_cpu


def measure_here(data: Path, items: int, buckets: int, memory: str) -> Measured:
    """Align the tables in `data` in this process and, if there are buckets, its workers."""
    use_own_maps_for_arrays()
    with tempfile.TemporaryDirectory(dir=data) as folder:
        work = Path(folder)
        run = RunParams(workers=2, progress=False, cache=folder, table_memory=memory, buckets=buckets)
        start, started = time.perf_counter(), time.process_time()
        outcome = align(check_block(PARAMS, "align", AlignParams), Workspace(data, work, work, run))
        seconds, cpu = time.perf_counter() - start, time.process_time() - started
    outcome.check()
    return Measured(items, buckets, outcome.notes[0], seconds, cpu, read_cpu())


def measure_apart(data: Path, items: int, buckets: int, memory: str) -> Measured:
    """Align the tables in `data` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_align", "--data", str(data), "--memory", memory]
    command += ["--items", str(items), "--buckets", str(buckets)]
    peak, ended = Peak(), threading.Event()
    use_own_maps_for_arrays()  # sets the environment, which that process has before it imports Arrow
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=CHECKOUT) as process:

        def watch() -> None:
            while not ended.wait(LOOK):
                peak.look(process.pid)

        watcher = threading.Thread(target=watch)
        watcher.start()
        said, _ = process.communicate()
        ended.set()
        watcher.join()
    measured = Measured(**json.loads(said))
    return replace(measured, driver_megabytes=peak.driver / 1e6, worker_megabytes=peak.worker / 1e6)


def measure_all(counts: Sequence[int], buckets: Sequence[int], memory: str) -> list[Measured]:
    """Make tables of each number of items, and align them with each number of buckets."""
    runs = []
    for items in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_corpus(Path(folder), items)
            runs += [measure_apart(Path(folder), items, number, memory) for number in buckets]
    return sorted(runs, key=lambda run: run.buckets)


def describe(runs: Sequence[Measured], memory: str) -> str:
    """Return the page of results."""
    lines = [
        "# Align: growth with the number of items",
        "",
        f"2 threads, and 2 workers with buckets; `run.table_memory` {memory}. `python -m benchmarks.bench_align` made "
        "this; on a machine that does other work, look at the CPU time: the clock shows at least half of it. Memory is "
        "what a process has for itself, without files that it maps.",
        "",
        "| items | buckets | samples | s | CPU s: driver, workers | µs an item | MB: driver, a worker | CPU grows as |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for before, run in zip([None, *runs], runs, strict=False):
        grows = f"items^{_find_exponent(before, run):.2f}" if before and before.buckets == run.buckets else ""
        samples = run.samples.partition(" ")[0]
        lines.append(
            f"| {run.items:,} | {run.buckets} | {int(samples):,} | {run.seconds:.1f} "
            f"| {run.driver_cpu:.1f}, {run.worker_cpu:.1f} | {run.cpu / run.items * 1e6:.1f} "
            f"| {run.driver_megabytes:.0f}, {run.worker_megabytes:.0f} | {grows} |"
        )
    return "\n".join(lines) + "\n"


def _find_exponent(before: Measured, after: Measured) -> float:
    return math.log(after.cpu / before.cpu) / math.log(after.items / before.items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000,1000000,3000000")
    parser.add_argument("--buckets", default="0,12")
    parser.add_argument("--memory", default="1 GB")
    parser.add_argument("--data", type=Path, help="tables to align in this process")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.items.split(",")]
    buckets = [int(number) for number in arguments.buckets.split(",")]
    if arguments.data:
        print(json.dumps(asdict(measure_here(arguments.data, counts[0], buckets[0], arguments.memory))))
        return
    page = describe(measure_all(counts, buckets, arguments.memory), arguments.memory)
    RESULT.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
