"""How fast extraction is, from aligned samples to verified shards, beside what a user would write instead.

    python -m benchmarks.bench_extract [--stamps FOLDER] [--copies 10] [--speech 7000] [--rounds 3]

Two corpora: the stamps, so many different copies of each, and generated speech with large images. On each, in turn,
round after round: the usual script with a process pool (`benchmarks.support.naive_prep`), the extract stage with an
empty item
cache, and the stage's own extractors in a bare pool that writes nothing (`benchmarks.support.bare_pool`). The best
round of
each counts. Start-up, which the last ratio sets aside, is what the same takes on eight samples. Writes
`benchmarks/results/extract.md`; takes 40 minutes on 2 cores and 15 GB of disk.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support.apart import run_apart
from benchmarks.support.copies import BEFORE_EXTRACT, CHECKOUT, Changes, Copy
from benchmarks.support.extract_corpora import AUDIO, copy_stamps, make_speech
from benchmarks.support.naive_prep import COEFFICIENTS, FFT, HOP, MELS, RATE, SIDE
from pipeline.runtime.sandbox.fork_server import ONE_THREAD

RESULT = CHECKOUT / "benchmarks/results/extract.md"
STAMPS = CHECKOUT.parent / "shared/data/stamps"
TINY = 8
"""Samples whose time is taken for start-up."""


@dataclass(frozen=True)
class Corpus:
    """A corpus: how its files are called, and how many seconds of audio a sample keeps."""

    name: str
    title: str
    image: str
    audio: str
    text: str
    seconds: float
    target: float

    def find_changes(self, root: Path) -> Changes:
        """Params that do the work that the usual script does."""
        key = "(?P<key>(?P<label>[^/]+)/.+)"
        ends = {"image": self.image, "audio": self.audio, "text": ".txt"}
        return {
            "crawl": {"start": [], "lists": []},
            "ingest": {
                "root": str(root),
                "text": self.text,
                "languages": ["en"],
                "page_text": None,
                "page_label": None,
            },
            "align": {
                "by": "pattern",
                "label": "path",
                "modalities": {
                    name: {
                        "required": True,
                        "pattern": key + re.escape(end),
                        "part": "en" if name == "text" and self.text == "tagged_lines" else None,
                    }
                    for name, end in ends.items()
                }
                | {"video": None},
                "duplicates": {"exact": "keep", "near": "keep", "share_split": "all"},
                "max_group": 1.0,
            },
            "extract": {
                "image": {"height": SIDE, "width": SIDE, "fit": "stretch"},
                "audio": {
                    "rate": RATE,
                    "seconds": self.seconds,
                    "coefficients": COEFFICIENTS,
                    "mels": MELS,
                    "fft": FFT,
                    "hop": HOP,
                },
                "text": {"length": 64},
            },
            "run": {"workers": 2, "progress": False},
        }


CORPORA = (
    Corpus("stamps", "stamps, {} different copies of each", ".png", AUDIO, "tagged_lines", 5.0, 1.0),
    Corpus("speech", "speech, 640 × 480 JPEG, 3 s of 16 kHz WAV, a caption", ".jpg", ".wav", "whole", 3.0, 1.4),
)


@dataclass
class Measured:
    """Seconds of each round by runner, of start-up by runner; samples; and what the stage said last."""

    samples: int
    rounds: dict[str, list[float]] = field(default_factory=dict)
    start_up: dict[str, list[float]] = field(default_factory=dict)
    said: str = ""
    features: tuple[int, int] = (0, 0)

    def find_best(self, runner: str, own: bool = False) -> float:
        """The least seconds of a runner; its own time, start-up aside, where asked for."""
        return min(self.rounds[runner]) - (min(self.start_up[runner]) if own else 0.0)


def prepare(corpus: Corpus, work: Path, tree: Path) -> Copy:
    """A copy in which all stages before extract ran on a corpus."""
    copy = Copy(work)
    copy.make(corpus.find_changes(tree))
    copy.run_stages(*BEFORE_EXTRACT)
    return copy


def extract(copy: Copy, measured: Measured) -> float:
    """Seconds of the stage with nothing in its cache; its shards are verified afterwards, outside of the time."""
    for name in (".cache", "data/5_shards", "data/5_extract"):
        shutil.rmtree(copy.folder / name, ignore_errors=True)
    run = copy.run_stages("extract")
    measured.said, measured.features = run.said, run.read_counts("features")
    copy.run("shardwright", "verify", "data/5_shards")
    return run.wall


def measure(corpus: Corpus, work: Path, tree: Path, rounds: int) -> Measured:
    """Run everything on a corpus."""
    few = work / "few" / tree.name
    images = sorted(tree.glob(f"**/*{corpus.image}"))
    for image in images[:: max(1, len(images) // TINY)][:TINY]:
        stem, place = image.name.removesuffix(corpus.image), few / image.relative_to(tree).parent
        place.mkdir(parents=True, exist_ok=True)
        for end in (corpus.image, corpus.audio, ".txt"):
            shutil.copy(image.with_name(stem + end), place)
    say(f"{corpus.name}: stages before extract")
    large, small = prepare(corpus, work / "large", tree), prepare(corpus, work / "small", few)
    measured, aside = Measured(len(images)), Measured(TINY)
    for number in range(rounds):
        for name, run in list_runners(corpus, work).items():
            seconds = run(large, tree, measured)
            measured.rounds.setdefault(name, []).append(seconds)
            measured.start_up.setdefault(name, []).append(run(small, few, aside))
            say(f"{corpus.name}, round {number + 1}: {name} {measured.samples / seconds:.0f} samples/s")
    return measured


def list_runners(corpus: Corpus, work: Path) -> Mapping[str, Any]:
    """What takes turns: each gives seconds, start-up included."""

    def run_naive(copy: Copy, tree: Path, measured: Measured) -> float:
        out = work / "naive"
        ends = ("--image", corpus.image, "--audio", corpus.audio)
        outcome = run_apart("benchmarks.support.naive_prep", tree, out, *ends)
        shutil.rmtree(out)
        return float(outcome["seconds"])

    def run_stage(copy: Copy, tree: Path, measured: Measured) -> float:
        return extract(copy, measured)

    def run_pool(copy: Copy, tree: Path, measured: Measured) -> float:
        return float(run_apart("benchmarks.support.bare_pool", copy.folder)["seconds"])

    return {"usual script": run_naive, "extract": run_stage, "bare pool": run_pool}


def report(corpus: Corpus, measured: Measured, title: str) -> Iterator[str]:
    """The section of a corpus."""
    yield f"## {title}: {measured.samples:,} samples\n"
    yield "| | samples/s, start-up included | start-up, s | ms a sample, start-up aside |"
    yield "| --- | --- | --- | --- |"
    for name in measured.rounds:
        rate, start = measured.samples / measured.find_best(name), min(measured.start_up[name])
        own = measured.find_best(name, own=True) / measured.samples * 1e3
        yield f"| {name} | {rate:.1f} | {start:.1f} | {own:.2f} |"
    ratio = measured.find_best("usual script") / measured.find_best("extract")
    price = measured.find_best("extract", own=True) / measured.find_best("bare pool", own=True) - 1
    kept, computed = measured.features
    yield f"\nextract is {ratio:.2f} × the usual script (target ≥ {corpus.target:g})."
    yield f"Dask, tars, hashes and ledger cost {price:.0%} on top of the bare pool (target ≤ 15 %)."
    yield f"{computed:,} features were computed, {kept:,} came from the cache. What the stage said:\n"
    yield f"```\n{measured.said.strip()}\n```\n"


def say(line: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(line + "\n")


def bench(work: Path, options: argparse.Namespace) -> Iterator[str]:
    """Make the corpora that were asked for, measure, and give the lines of the page."""
    makers = {
        "stamps": partial(copy_stamps, options.stamps, copies=options.copies),
        "speech": partial(make_speech, samples=options.speech),
    }
    yield "# Extraction beside the usual script\n"
    yield "2 processes each, one thread a process; the best round of each. `python -m benchmarks.bench_extract`"
    yield "made this.\n"
    for corpus in CORPORA:
        if corpus.name not in options.only.split(","):
            continue
        tree = work / corpus.name / "stamps"
        if not tree.exists():
            say(f"{corpus.name}: making the corpus")
            makers[corpus.name](folder=tree)
        measured = measure(corpus, work / corpus.name, tree, options.rounds)
        yield from report(corpus, measured, corpus.title.format(options.copies))


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamps", type=Path, default=STAMPS)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--speech", type=int, default=7000, help="samples of generated speech")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="stamps,speech", help="corpora, by commas")
    parser.add_argument("--keep", type=Path, help="work in this folder, which is empty or missing, and leave it")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    os.environ.update(ONE_THREAD)
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        text = "\n".join(bench((options.keep or Path(scratch)).resolve(), options)) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
