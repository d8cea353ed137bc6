"""Files of images, audio, video and text, read into batches by this project and by its peers, in turn.

`make bench-media`, or `python -m benchmarks.bench_media` where the peers are installed. Every reader runs in a process
of its own on the same files, round after round; one that is not installed, or fails, is left out by name. Writes
`benchmarks/results/media.md`; ten minutes on 2 cores, of which two make the files. `--data folder` keeps them, and what
was measured, to which a later run on the same files adds its rounds. A machine that does something else meanwhile
spoils the rates, and CPU time less. `--media audio,video` is quicker.
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.media.readers import READERS
from benchmarks.media.report import Measured, format_page
from benchmarks.media.sets import SETS
from benchmarks.support.apart import CHECKOUT, FailedError, run_apart
from benchmarks.support.machine import describe_machine, describe_packages

RESULT = CHECKOUT / "benchmarks/results/media.md"
MEASURE = "benchmarks.media.measure"
FIGURES = "figures.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
"""Libraries of peers would start threads in each worker that wait for each other by spinning."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured, on files in `folder`."""

    folder: Path
    counts: dict[str, int]
    rounds: int
    epochs: int

    def find_set(self, medium: str) -> Path:
        """The folder of a medium's files, in all forms, and of what was measured with them."""
        return self.folder / f"{medium}-{self.counts[medium]}"


def measure(plan: Plan) -> Measured:
    """Make the files that are missing, and measure all readers, round after round."""
    measured = Measured(plan.counts)
    missing = run_apart(MEASURE, "missing")
    for medium, count in plan.counts.items():
        measured.load(medium, plan.find_set(medium) / FIGURES)
        tars = plan.find_set(medium) / "tars"
        if not tars.exists():
            say(f"making {count:,} files of {medium}")
            partial = tars.with_name("tars.partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
            run_apart("benchmarks.media.sets", medium, partial, count)
            partial.rename(tars)
    for number in range(plan.rounds):
        for medium in plan.counts:
            say(f"round {number + 1} of {plan.rounds}, {medium}")
            for name in READERS[medium]:
                measure_reader(plan, medium, name, measured, missing)
    return measured


def measure_reader(plan: Plan, medium: str, name: str, measured: Measured, missing: dict[str, str]) -> None:
    """Run a reader once. A peer that fails is left out from then on; a failure of ours ends it all."""
    reader, label = READERS[medium][name], f"{medium}, {name}"
    if reader.module in missing:
        measured.left_out[name] = missing[reader.module]
    if name in measured.left_out or label in measured.left_out:
        return
    folder = plan.find_set(medium)
    environment = ONE_THREAD | dict(reader.environment(folder))
    options = (plan.counts[medium], "--epochs", plan.epochs)
    try:
        if not (folder / reader.form).exists():
            run_apart(MEASURE, "prepare", folder, medium, reader.form, environment=environment)
        found = run_apart(MEASURE, "read", folder, medium, name, *options, environment=environment)
    except FailedError as error:
        if reader.module == "shardwright":
            raise
        measured.left_out[label] = str(error).splitlines()[-1]
        say(str(error))
        return
    measured.add(medium, name, found)
    measured.save(medium, folder / FIGURES)
    say(f"  {name}: {found['rate']:,.0f}/s, {found['cpu']:,.0f} µs")


def say(line: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(line + "\n")


def main() -> None:
    """Measure, print the page, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="where the files are made and kept; default: a temporary folder")
    parser.add_argument("--media", default=",".join(READERS), help=f"by commas, of: {', '.join(READERS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="files, by the number that is usual")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2, help="that count, after the first")
    parser.add_argument("--note", default="", help="a line for the page, such as what else ran on the machine")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the page goes")
    options = parser.parse_args()
    media = options.media.split(",")
    if unknown := set(media) - READERS.keys():
        parser.error(f"no medium {sorted(unknown)}; there are {', '.join(READERS)}")
    if min(options.scale, options.rounds, options.epochs) <= 0:
        parser.error("--scale, --rounds and --epochs are above 0")
    counts = {
        medium: max(2, round(SETS[medium].count * options.scale / SETS[medium].batch)) * SETS[medium].batch
        for medium in media
    }
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        folder = (options.data or Path(scratch)).resolve()
        measured = measure(Plan(folder, counts, options.rounds, options.epochs))
    packages = {reader.package for readers in READERS.values() for reader in readers.values()} - {"shardwright"}
    libraries = ("simplejpeg", "pillow", "librosa", "av", "tokenizers")
    load = f"load {os.getloadavg()[1]:.1f}"
    machine = [f"{describe_machine()}; {load}", describe_packages(("numpy", "torch", *sorted(packages), *libraries))]
    page = format_page(measured, [*machine, *filter(None, [options.note])])
    options.result.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
