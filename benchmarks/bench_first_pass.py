"""What checking costs: a first pass over a set beside the later ones, and `verify` beside its sha256 alone.

    python -m benchmarks.bench_first_pass [--rounds 5] [--against CHECKOUT]

Each measurement is a process of its own and counts its CPU time, since other work on the machine changes that less than
the clock. With `--against` each round measures another checkout of this project too, in turn. Writes
`benchmarks/results/first_pass.md`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.support.apart import CHECKOUT, MARK, run_apart
from shardwright import Field, ShardWriter

RESULT = CHECKOUT / "benchmarks/results/first_pass.md"
CHILD = CHECKOUT / "benchmarks/support/first_pass.py"
SAMPLES = {"large": 1000, "small": 8000, "labels": 20_000}
TITLES = {
    "large": "168 kB: 224×224×3, 40×100, 64 tokens, a label",
    "small": "13 kB: 32×32×3, 40×64, 32 tokens, a label",
    "labels": "8 bytes: a label alone",
}
THREADS = {"large": ("default", "0"), "small": ("default",), "labels": ("default",)}
"""Of the loader; the default is none for small samples."""
Costs = dict[str, float]


def write_set(folder: Path, kind: str) -> None:
    """Write one of the sets."""
    if kind != "labels":
        run_apart("benchmarks.support.make_tensors", "shardwright", kind, folder, "--samples", SAMPLES[kind])
        return
    with ShardWriter(folder, "train", {"label": Field("int64", ())}, 10_000) as writer:
        for number in range(SAMPLES[kind]):
            writer.write(f"{number:09d}", {"label": number})


def measure(checkout: Path, folder: Path, threads: str) -> Costs:
    """Microseconds of CPU time a sample, in a process that imports the package of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(CHILD), str(folder), threads]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    (line,) = (line for line in run.stdout.splitlines() if line.startswith(MARK))
    found: Costs = json.loads(line.removeprefix(MARK))
    return found


def format_table(costs: Mapping[tuple[str, str, str], Costs]) -> str:
    """A row for each set, number of threads and checkout."""
    lines = [
        "| samples | threads | code | first pass, µs | later, µs | rate | verify, µs | its sha256, µs | the rest, µs |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (kind, threads, code), cost in costs.items():
        figures = [
            f"{cost['first']:.2f}",
            f"{cost['later']:.2f}",
            f"{cost['later'] / cost['first']:.2f}",
            f"{cost['verify']:.2f}",
            f"{cost['sha256']:.2f}",
            f"{cost['verify'] - cost['sha256']:.2f}",
        ]
        lines.append(f"| {' | '.join([TITLES[kind], threads, code, *figures])} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the page, and keep it."""
    parser = argparse.ArgumentParser(description="Measures what checking costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout to measure in turn")
    options = parser.parse_args()
    codes = {"before": options.against.resolve(), "now": CHECKOUT} if options.against else {"now": CHECKOUT}
    costs: dict[tuple[str, str, str], Costs] = {}
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        for kind in SAMPLES:
            folder = Path(scratch) / kind
            write_set(folder, kind)
            for _ in range(options.rounds):
                for threads in THREADS[kind]:
                    for code, checkout in codes.items():
                        found = measure(checkout, folder, threads)
                        known = costs.setdefault((kind, threads, code), found)
                        costs[kind, threads, code] = {name: min(known[name], found[name]) for name in found}
    page = (
        "The CPU time of a sample in a first, checked pass over a set, in later passes, and in `verify`; files in the "
        f"page\ncache, batches of 64, shuffled, the least of {options.rounds} rounds, each a process of its own. "
        "`python -m benchmarks.bench_first_pass`\nmakes this page. The column `rate` is that of the first "
        "pass by that of later ones.\n\n"
        + format_table(costs)
        + f"\n\nThe machine has {os.cpu_count()} cores; its load was {os.getloadavg()[2]:.0f} meanwhile.\n"
    )
    RESULT.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
