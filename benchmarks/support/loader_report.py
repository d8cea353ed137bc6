"""What was measured of the loader and of its peers, as a page: tables, and ratios beside their targets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.support.read_tensors import Rates


@dataclass(frozen=True)
class Case:
    """One row of a table: a reader on a format. Workers are processes, and threads where the reader is shardwright."""

    reader: str
    format: str
    workers: int = 0

    @property
    def name(self) -> str:
        """As the tables say it."""
        if self.reader in ("read", "memcpy"):
            return f"{self.reader}, {'our shards' if self.format == 'shardwright' else 'tars of webdataset'}"
        return f"{self.reader}, {self.workers} {'threads' if self.reader == 'shardwright' else 'workers'}"


@dataclass(frozen=True)
class Run:
    """A case on a set (`large` or `small`), in shuffled order or not."""

    case: Case
    size: str
    shuffle: bool


@dataclass
class Measured:
    """All that was measured; a run that failed or was left out is missing."""

    rates: dict[Run, Rates] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  # by the reader's name, the reason
    first_batch: list[float] = field(default_factory=list)  # seconds
    opening: dict[int, float] = field(default_factory=dict)  # seconds by number of shards
    memory: list[float] = field(default_factory=list)  # MiB after each epoch
    chosen_threads: dict[str, int] = field(default_factory=dict)  # by size, without `threads=`

    def add(self, run: Run, rates: Rates) -> None:
        """Keep the best of each figure."""
        old = self.rates.get(run, rates)
        self.rates[run] = Rates(
            max(old.first, rates.first), max(old.later, rates.later), min(old.first_batch, rates.first_batch)
        )

    def find_best(self, size: str, shuffle: bool, readers: Iterable[str], figure: str = "later") -> float | None:
        """The highest rate of those readers, samples a second; None where none of them ran."""
        wanted = set(readers)
        rates = [
            getattr(rates, figure)
            for run, rates in self.rates.items()
            if (run.size, run.shuffle) == (size, shuffle) and run.case.reader in wanted
        ]
        return max(rates, default=None)

    def rate_chosen_threads(self, size: str) -> float | None:
        """The rate with the threads that the loader chooses, by that of the best number, shuffled."""
        chosen = Case("shardwright", "shardwright", self.chosen_threads.get(size, -1))
        rates = self.rates.get(Run(chosen, size, True))
        return None if rates is None else divide(rates.later, self.find_best(size, True, ["shardwright"]))

    def find_webdataset(self, size: str) -> float | None:
        """Samples a second of webdataset with 2 workers, shuffled."""
        rates = self.rates.get(Run(Case("webdataset", "webdataset", 2), size, True))
        return None if rates is None else rates.later


@dataclass(frozen=True)
class Check:
    """A figure beside its target; `aim` is what would be better still."""

    what: str
    value: float | None
    target: float
    at_most: bool = False
    aim: float | None = None
    unit: str = "×"

    def format_row(self) -> str:
        """A line of the table of ratios."""
        sign = "≤" if self.at_most else "≥"
        wanted = f"{sign} {self.target:g} {self.unit}" + (f" (aim {self.aim:g})" if self.aim else "")
        if self.value is None:
            return f"| {self.what} | not measured | {wanted} | |"
        met = self.value <= self.target if self.at_most else self.value >= self.target
        return f"| {self.what} | {self.value:.3g} {self.unit} | {wanted} | {'yes' if met else '**no**'} |"


OTHERS = ("MosaicML Streaming", "LitData", "HF datasets")


def list_checks(measured: Measured) -> list[Check]:
    """What the project promises of its loader, beside what was measured."""
    ours = measured.find_best("large", True, ["shardwright"])
    webdataset = measured.find_webdataset("large")
    peers = ("webdataset", *OTHERS)
    in_order = divide(measured.find_best("large", False, ["shardwright"]), measured.find_best("large", False, peers))
    first = divide(measured.find_best("large", True, ["shardwright"], "first"), webdataset)
    small = divide(measured.find_best("small", True, ["shardwright"]), measured.find_webdataset("small"))
    first_batch = sorted(measured.first_batch)[len(measured.first_batch) // 2] if measured.first_batch else None
    return [
        Check("shuffled: webdataset, 2 workers", divide(ours, webdataset), 20, aim=30),
        Check(
            "shuffled: the best of MosaicML Streaming, LitData and HF datasets",
            divide(ours, measured.find_best("large", True, OTHERS)),
            16,
        ),
        Check("shuffled: memcpy, the faster of both", divide(ours, measured.find_best("large", True, ["memcpy"])), 1.1),
        Check("shuffled, first epoch, every member checked: webdataset, 2 workers", first, 5, aim=10),
        Check("in order: the best of all peers", in_order, 6),
        Check("small samples, shuffled: webdataset, 2 workers", small, 60, aim=90),
        Check(
            "shuffled: the default of threads by the best number of them", measured.rate_chosen_threads("large"), 0.95
        ),
        Check("small samples: the default of threads by the best number", measured.rate_chosen_threads("small"), 0.95),
        Check("first batch after opening, median", first_batch, 0.05, at_most=True, unit="s"),
        Check(
            "exponent of the opening time over the shards", find_exponent(measured.opening), 1.1, at_most=True, unit=""
        ),
        Check("memory of the epochs 11 to 20 by that of 1 to 10", find_growth(measured.memory), 1.05, at_most=True),
    ]


def divide(value: float | None, by: float | None) -> float | None:
    """The ratio, or None where a part of it is missing."""
    return None if value is None or by is None else value / by


def find_exponent(seconds: Mapping[int, float]) -> float | None:
    """The slope of log time over log number, from 100 on: below that, opening costs what it costs for one shard."""
    points = [(math.log(number), math.log(value)) for number, value in sorted(seconds.items()) if number >= 100]
    if len(points) < 2:
        return None
    (first, low), (last, high) = points[0], points[-1]
    return (high - low) / (last - first)


def find_growth(memory: Sequence[float]) -> float | None:
    """The most memory of the later half of the epochs, over that of the earlier half."""
    half = len(memory) // 2
    return max(memory[half:]) / max(memory[:half]) if half else None


def format_report(measured: Measured, samples: Mapping[str, int], machine: Sequence[str]) -> str:
    """The page in Markdown."""
    lines = [
        "Readers of the same samples, in turn on one machine, each in a process of its own: batches of 64 torch",
        "tensors, files in the page cache, the best of all rounds. `make bench-loader` makes this page.",
        "",
        *(f"- {line}" for line in machine),
        *(f"- {name} is left out. {reason}" for name, reason in sorted(measured.left_out.items())),
        "",
        "| shardwright against | measured | target | met |",
        "| --- | --- | --- | --- |",
        *(check.format_row() for check in list_checks(measured)),
        "",
        f"Samples a second, {samples['large']:,} samples of an image 224×224×3, MFCC 40×100, 64 tokens and a label.",
        "`first epoch` is the shuffled one; the others are the best of the later epochs of one open set.",
        "",
        "| reader | shuffled | in order | first epoch | its first batch |",
        "| --- | --- | --- | --- | --- |",
        *list_rows(measured, "large"),
        "",
        f"The same, {samples['small']:,} small samples: 32×32×3, 40×64, 32 tokens, a label.",
        "",
        "| reader | shuffled | in order | first epoch | its first batch |",
        "| --- | --- | --- | --- | --- |",
        *list_rows(measured, "small"),
        "",
        "Opening a split of shards of 10 samples, the best of 5:",
        "",
        "| shards | ms | µs a shard |",
        "| --- | --- | --- |",
        *(f"| {n} | {1e3 * s:.1f} | {1e6 * s / n:.0f} |" for n, s in sorted(measured.opening.items())),
        "",
        "MiB of the process's own memory after each epoch, shuffled, 2 threads: "
        + ", ".join(f"{value:.0f}" for value in measured.memory),
    ]
    return "\n".join(lines) + "\n"


def list_rows(measured: Measured, size: str) -> list[str]:
    """A line a case, in the order in which they ran first."""
    rows = []
    for case in dict.fromkeys(run.case for run in measured.rates if run.size == size):
        shuffled, ordered = (measured.rates.get(Run(case, size, shuffle)) for shuffle in (True, False))
        cells = [
            format_rate(shuffled.later) if shuffled else "",
            format_rate(ordered.later) if ordered else "",
            format_rate(shuffled.first) if shuffled else "",
            f"{1e3 * shuffled.first_batch:.0f} ms" if shuffled else "",
        ]
        rows.append(f"| {case.name} | {' | '.join(cells)} |")
    return rows


def format_rate(rate: float) -> str:
    """`12,300`: three figures of it count."""
    return f"{float(f'{rate:.3g}'):,.0f}"
