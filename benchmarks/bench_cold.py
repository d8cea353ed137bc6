"""A set several times as large as memory: block order against `read()` of the same files, and against random order.

`python -m benchmarks.bench_cold` as root on Linux (some 2 minutes, 3 GB of disk): a control group holds each pass to
600 MiB, page cache included, and the cache is empty when it starts. It ends with 2 where there can be no such group.
`--tune` measures other cuts into blocks as well.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.support.apart import MARK, SHOWN_LINES, FailedError
from benchmarks.support.make_tensors import SIZES, write_shardwright
from benchmarks.support.memory_group import NoGroupError, drop_caches, limit_memory
from shardwright.loading.window_reader import Blocks

RESULT = Path("benchmarks/results/loader_cold.md")
TARGET = 1.3
MIB = 1 << 20
TUNED = [Blocks(size * MIB, 64 // size) for size in (1, 2, 4, 8)]
TUNED += [Blocks(2 * MIB, 16), Blocks(2 * MIB, 64), Blocks(2 * MIB, 32, ahead=2)]
"""Windows of 64 MiB cut in different ways, smaller and larger windows, and two ahead."""


@dataclass(frozen=True)
class Pass:
    """What one pass took.

    Attributes:
        samples: that it delivered.
        seconds, cpu_seconds: of the clock from opening on; of all threads with imports.
        disk_bytes: that came from the disk.
        peak: bytes of memory and page cache at most, None where the kernel does not tell.
        failures: how often an allocation met the limit.
    """

    samples: int
    seconds: float
    cpu_seconds: float
    disk_bytes: int
    peak: int | None
    failures: int

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds


def run_pass(kind: str, folder: Path, limit: int, blocks: Blocks) -> Pass:
    """Make one pass in a process of its own, with an empty cache and that much memory.

    Raises:
        NoGroupError: this process may not limit memory.
        FailedError: the pass failed; it may have been killed for memory.
    """
    cut = (f"--block-bytes={blocks.size}", f"--blocks-per-window={blocks.per_window}", f"--ahead={blocks.ahead}")
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.support.cold_pass", kind, str(folder), *cut]
    drop_caches()
    with limit_memory(limit) as group:
        run = group.run(command)
        peak, failures = group.find_peak(), group.count_failures()
    outcomes = [line for line in run.stdout.splitlines() if line.startswith(MARK)]
    if run.returncode or not outcomes:
        said = "\n".join(run.stderr.strip().splitlines()[-SHOWN_LINES:])
        raise FailedError(f"{kind} with {blocks} ended with {run.returncode}:\n{said}")
    return Pass(peak=peak, failures=failures, **json.loads(outcomes[-1].removeprefix(MARK)))


def measure(folder: Path, limit: int, rounds: int, cuts: Sequence[Blocks]) -> dict[str, list[Pass]]:
    """The passes by name, in turn."""
    plan = {"`read()`, 4 MiB at a time": ("read", cuts[0])}
    plan |= {f"block order, {name_cut(cut)}": ("block", cut) for cut in cuts}
    plan |= {"exactly random order, 64 batches": ("random", cuts[0])}
    found: dict[str, list[Pass]] = {name: [] for name in plan}
    for _ in range(rounds):
        for name, (kind, cut) in plan.items():
            found[name].append(run_pass(kind, folder, limit, cut))
            sys.stderr.write(f"{name}: {found[name][-1].rate:,.0f} samples/s\n")
    return found


def name_cut(cut: Blocks) -> str:
    """`2 MiB × 32, 1 ahead`."""
    return f"{cut.size // MIB} MiB × {cut.per_window}, {cut.ahead} ahead"


def format_page(found: Mapping[str, Sequence[Pass]], total: int, limit: int) -> str:
    """The passes in Markdown, and the ratio beside its target."""
    read, block, *_ = found.values()
    ratio = min(one.seconds for one in block) / min(one.seconds for one in read)
    lines = [
        f"A set of {total / 1e6:,.0f} MB ({read[0].samples:,} samples) in {limit / 1e6:,.0f} MB of memory, page cache "
        f"included: {total / limit:.1f} times as",
        f"much. The cache was empty before each pass; best and median of {len(read)} in turn.",
        "",
        "| pass | samples/s, best | median | CPU s | from disk | peak | met the limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(format_row(name, passes) for name, passes in found.items()),
        "",
        f"Block order, every member checked, takes {ratio:.2f} times as long as `read()` (best of the rounds; "
        f"target: at most {TARGET}): {'met' if ratio <= TARGET else 'MISSED'}.",
        "",
        "*Met the limit*: allocations that waited until something else was dropped (`memory.failcnt`, or `max` of",
        "`memory.events`). Block order reads a set that is larger than memory past the page cache: it hardly has to.",
    ]
    return "\n".join(lines) + "\n"


def format_row(name: str, passes: Sequence[Pass]) -> str:
    """One line of the table; what is no rate is that of the last pass."""
    rates, last = [one.rate for one in passes], passes[-1]
    peak = "unknown" if last.peak is None else f"{last.peak / 1e6:,.0f} MB"
    cells = [
        f"{max(rates):,.0f}",
        f"{median(rates):,.0f}",
        f"{last.cpu_seconds:.1f}",
        f"{last.disk_bytes / 1e6:,.0f} MB",
    ]
    return f"| {' | '.join([name, *cells, peak, f'{last.failures:,}'])} |"


def main() -> None:
    """Make the set, measure, print the page and keep it."""
    parser = argparse.ArgumentParser(description="Block order on a set larger than memory, against read().")
    parser.add_argument("--folder", type=Path, help="where the set is, or is made; by default it is made and removed")
    parser.add_argument("--samples", type=int, default=14_000)
    parser.add_argument("--limit-mib", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tune", action="store_true", help="measure other cuts into blocks too; keeps nothing")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the page goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "set"
        try:
            with limit_memory(options.limit_mib * MIB):  # before the set is made for nothing
                drop_caches()
            if not folder.exists():
                write_shardwright(folder, SIZES["large"], options.samples)
            cuts = [Blocks(), *TUNED] if options.tune else [Blocks()]
            found = measure(folder, options.limit_mib * MIB, options.rounds, cuts)
        except NoGroupError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        total = sum(path.stat().st_size for path in folder.rglob("*.tar"))
    page = format_page(found, total, options.limit_mib * MIB)
    if not options.tune:
        options.result.parent.mkdir(parents=True, exist_ok=True)
        options.result.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
