"""How time and memory of align grow with the number of items: 100,000, 1,000,000, 3,000,000.

    python -m benchmarks.bench_align [--items 100000,1000000,3000000] [--memory "1 GB"]

Tables of an image, a sound and a caption a page, without their files (`benchmarks.support.aligned_corpus`): 1 % of the
items are lost, and 2 to 8 % repeat another. Each run is a process of its own with 2 threads; memory is its largest
resident size. Writes `benchmarks/results/align.md`.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.support.aligned_corpus import write_corpus
from benchmarks.support.copies import CHECKOUT
from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.config.check_params import check_block
from pipeline.config.params import RunParams
from pipeline.runtime.run_stage import Workspace

RESULT = CHECKOUT / "benchmarks/results/align.md"
PARAMS = {"align": {"by": "page", "label": "page", "max_group": 1.0}}


@dataclass(frozen=True)
class Measured:
    """One run: seconds by the clock and of all threads, the largest resident size in MB."""

    items: int
    samples: str
    seconds: float
    cpu: float
    megabytes: float


def measure_here(data: Path, items: int, memory: str) -> Measured:
    """Align the tables in `data` in this process."""
    with tempfile.TemporaryDirectory(dir=data) as folder:
        work = Path(folder)
        run = RunParams(workers=2, progress=False, cache=folder, table_memory=memory)
        start, started = time.perf_counter(), time.process_time()
        outcome = align(check_block(PARAMS, "align", AlignParams), Workspace(data, work, work, run))
        seconds, cpu = time.perf_counter() - start, time.process_time() - started
    outcome.check()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(items, outcome.notes[0], seconds, cpu, peak)


def measure_apart(items: int, memory: str) -> Measured:
    """Make tables of as many items, and align them in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_corpus(Path(folder), items)
        command = [sys.executable, "-m", "benchmarks.bench_align", "--items", str(items), "--memory", memory]
        done = subprocess.run([*command, "--data", folder], check=True, capture_output=True, cwd=CHECKOUT)
    return Measured(**json.loads(done.stdout))


def describe(runs: Sequence[Measured], memory: str) -> str:
    """Return the page of results."""
    lines = [
        "# Align: growth with the number of items",
        "",
        f"2 threads, `run.table_memory` {memory}. `python -m benchmarks.bench_align` made this; on a machine that does "
        "other work, look at the CPU time: the clock shows at least half of it.",
        "",
        "| items | samples | s | CPU s | µs of CPU an item | MB | CPU grows as |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for before, run in zip([None, *runs], runs, strict=False):
        grows = "" if before is None else f"items^{_find_exponent(before, run):.2f}"
        samples = run.samples.partition(" ")[0]
        lines.append(
            f"| {run.items:,} | {int(samples):,} | {run.seconds:.1f} | {run.cpu:.1f} | {run.cpu / run.items * 1e6:.1f} "
            f"| {run.megabytes:.0f} | {grows} |"
        )
    return "\n".join(lines) + "\n"


def _find_exponent(before: Measured, after: Measured) -> float:
    return math.log(after.cpu / before.cpu) / math.log(after.items / before.items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000,1000000,3000000")
    parser.add_argument("--memory", default="1 GB")
    parser.add_argument("--data", type=Path, help="tables to align in this process")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.items.split(",")]
    if arguments.data:
        print(json.dumps(asdict(measure_here(arguments.data, counts[0], arguments.memory))))
        return
    page = describe([measure_apart(count, arguments.memory) for count in counts], arguments.memory)
    RESULT.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
