"""What was measured of readers of media, as a page: a table a medium, and ratios beside their targets."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.media.readers import READERS
from benchmarks.media.sets import SETS

INTRODUCTION = (
    "The same files read into batches of tensors in random order, as training code wants them, by this project and by",
    "what people use instead. Each reader runs in a process of its own, all in turn, with two threads or two worker",
    "processes; its best epoch after the first counts: by the clock, and in CPU time with that of all its processes.",
    "Factors compare the first row of a table with the others: above 1, the first is faster, or takes less CPU time.",
    "Libraries compute with one thread in each thread or worker. `make bench-media` makes this page; the code of each",
    "reader is a file in `benchmarks/media/`.",
)

Figures = Mapping[str, float]
"""`rate`, samples a second, and `cpu`, microseconds of CPU time a sample."""


@dataclass
class Measured:
    """All that was measured, by medium and reader.

    Attributes:
        counts: files of each medium.
        figures: the best of all rounds.
        left_out: the reason, by reader.
    """

    counts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def load(self, medium: str, path: Path) -> None:
        """Add what earlier runs measured on the same files."""
        if path.exists():
            for name, found in json.loads(path.read_text(encoding="utf-8")).items():
                self.add(medium, name, found)

    def save(self, medium: str, path: Path) -> None:
        """Keep the figures of a medium for later runs."""
        path.write_text(json.dumps(self.figures[medium], indent=1), encoding="utf-8")

    def add(self, medium: str, name: str, found: Figures) -> None:
        """Keep the best of each figure."""
        readers = self.figures.setdefault(medium, {})
        old = readers.get(name, found)
        readers[name] = {"rate": max(old["rate"], found["rate"]), "cpu": min(old["cpu"], found["cpu"])}


@dataclass(frozen=True)
class Target:
    """How many times as fast one reader is to be as the fastest of some others."""

    medium: str
    ours: str
    others: tuple[str, ...]
    least: float


TARGETS = (
    Target("images", "ops.Image, 2 threads", ("webdataset, Pillow",), 1.75),
    Target("images", "ops.Image, 2 threads", ("webdataset, OpenCV",), 1.4),
    Target("images", "ops.Image, 2 threads", ("DALI on the CPU",), 1.4),
    Target("images", "ops.Image, 2 threads", ("SPDL, OpenCV", "SPDL, its own decoder"), 2.0),
    Target("images", "ops.Image, 2 threads", ("two bare OpenCV processes",), 1.1),
    Target("images", "ops.Image, 2 processes", ("ops.Image, 2 threads",), 1 / 1.1),
    Target("audio", "ops.Audio, 2 threads", ("Lhotse, on the fly",), 1 / 0.5),
    Target("audio", "ops.Audio, 2 threads", ("webdataset, librosa, whole files",), 1 / 0.4),
    Target("video", "ops.Frames, 2 threads", ("webdataset, PyAV, whole files",), 1 / 0.2),
    Target("video", "ops.Frames, 2 threads", ("webdataset, decord",), 1 / 1.1),
)


def format_page(measured: Measured, lines: Sequence[str]) -> str:
    """The page in Markdown."""
    parts = [
        "# Images, audio, video and text",
        "",
        *INTRODUCTION,
        "",
        *(f"- {line}" for line in lines),
        *(f"- Left out: {name}. {reason}" for name, reason in sorted(measured.left_out.items())),
        "",
        *list_targets(measured),
    ]
    for medium in measured.counts:
        parts += ["", *list_readers(measured, medium)]
    return "\n".join(parts) + "\n"


def list_targets(measured: Measured) -> list[str]:
    """Ratios beside what the project promises, as far as both sides were measured."""
    rows = []
    for target in TARGETS:
        readers = measured.figures.get(target.medium, {})
        others = [readers[name] for name in target.others if name in readers]
        if target.ours in readers and others:
            ours = readers[target.ours]
            rate = ours["rate"] / max(each["rate"] for each in others)
            cpu = min(each["cpu"] for each in others) / ours["cpu"]
            names = f"{target.ours} | {' or '.join(target.others)}"
            rows.append(f"| {names} | {rate:.2f} | {cpu:.2f} | ≥ {target.least:.2f} |")
    head = ["| | against | by the clock | in CPU time | target |", "| --- | --- | ---: | ---: | ---: |"]
    return [*head, *rows] if rows else []


def list_readers(measured: Measured, medium: str) -> Iterator[str]:
    """The table of a medium."""
    files, figures = SETS[medium], measured.figures.get(medium, {})
    readers = {name: figures[name] for name in READERS[medium] if name in figures}
    first = readers.get(next(iter(READERS[medium])))
    yield f"## {medium.capitalize()}"
    yield ""
    yield f"{measured.counts[medium]:,} {files.what}, to {files.work}; batches of {files.batch}."
    yield ""
    yield "| reader | samples/s | factor | CPU µs a sample | factor |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, each in readers.items():
        factors = (first["rate"] / each["rate"], each["cpu"] / first["cpu"]) if first else (1.0, 1.0)
        yield f"| {name} | {each['rate']:,.0f} | {factors[0]:.2f} | {each['cpu']:,.0f} | {factors[1]:.2f} |"
