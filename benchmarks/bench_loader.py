"""How fast the loader reads, beside what a user would pick instead and beside what the machine can do at most.

`make bench-loader`, or `python -m benchmarks.bench_loader` where the peers are installed: they and the limits run in
turn, round after round, each in a process of its own on the same samples, and the ratios are printed beside their
targets. It takes half an hour on 2 cores, and 7 GB of disk and page cache; a machine that does something else meanwhile
spoils it. `--only shardwright,memcpy --rounds 2` is quicker. A peer that is not installed is left out by name.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.apart import FailedError, run_apart
from benchmarks.support.loader_report import Case, Measured, Run, format_report
from benchmarks.support.machine import describe_machine, describe_packages
from benchmarks.support.peers import PEERS
from benchmarks.support.read_tensors import LATER_SECONDS, READERS, Rates

RESULT = Path("benchmarks/results/loader.md")
SMALL = ("shardwright", "webdataset")
"""Readers that are measured on small samples too."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured, on data in `folder`."""

    folder: Path
    samples: dict[str, int]
    rounds: int
    readers: frozenset[str]
    seconds: float

    def find_set(self, size: str, form: str) -> Path:
        """The folder of a set in a format."""
        return self.folder / f"{size}-{self.samples[size]}" / form


def list_runs(readers: Collection[str]) -> list[Run]:
    """Everything that a round runs, in turn."""
    cases = [
        Case("read", "shardwright"),
        Case("memcpy", "shardwright"),
        Case("memcpy", "webdataset"),
        *(Case("shardwright", "shardwright", threads) for threads in (0, 1, 2)),
        *(Case(peer.name, peer.format, workers) for peer in PEERS.values() for workers in peer.workers),
    ]
    wanted = [case for case in cases if case.reader in readers]
    large = [Run(case, "large", shuffle) for case in wanted for shuffle in (True, False)]
    small = [Run(case, "small", True) for case in wanted if case.reader in SMALL]
    return [run for run in large if run.case.reader != "read" or not run.shuffle] + small


def make_data(plan: Plan, runs: Sequence[Run]) -> dict[str, str]:
    """Make the sets that are not there; gives the formats that could not be made, with the reason."""
    failed = {}
    for size, form in dict.fromkeys((run.size, run.case.format) for run in runs):
        folder = plan.find_set(size, form)
        if folder.exists() or form in failed:
            continue
        say(f"making {plan.samples[size]} {size} samples for {form}")
        partial = folder.with_name(f"{form}.partial")
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
        try:
            run_apart("benchmarks.support.make_tensors", form, size, partial, "--samples", plan.samples[size])
        except FailedError as error:
            if form == "shardwright":
                raise
            failed[form] = str(error)
        else:
            partial.rename(folder)
    return failed


def measure(plan: Plan) -> Measured:
    """Run all of it, round after round."""
    measured = Measured()
    found = run_apart("benchmarks.support.peers")
    for name in plan.readers & found.keys():
        if "missing" in found[name]:
            measured.left_out[name] = found[name]["missing"]
    runs = list_runs(plan.readers - measured.left_out.keys())
    failed = make_data(plan, runs)
    measured.left_out |= {run.case.name: failed[run.case.format] for run in runs if run.case.format in failed}
    for number in range(plan.rounds):
        say(f"round {number + 1} of {plan.rounds}")
        for run in runs:
            if run.case.name not in measured.left_out:
                add_run(plan, run, measured)
        if "shardwright" in plan.readers:
            measured.first_batch.append(probe(plan, "first_batch")["seconds"])
    if "shardwright" in plan.readers:
        measured.memory = probe(plan, "memory", "--threads", 2)["mebibytes"]
        for size in plan.samples:
            folder = plan.find_set(size, "shardwright")
            measured.chosen_threads[size] = run_apart("benchmarks.support.loader_probes", "threads", folder)["threads"]
        opening = run_apart("benchmarks.support.loader_probes", "opening", plan.folder / "opening")["seconds"]
        measured.opening = {int(shards): seconds for shards, seconds in opening.items()}
    return measured


def add_run(plan: Plan, run: Run, measured: Measured) -> None:
    """Run one case once. A peer that fails is left out from then on; a failure of ours or of a limit ends it all."""
    folder, samples = plan.find_set(run.size, run.case.format), plan.samples[run.size]
    order = ["--shuffle"] if run.shuffle else []
    options = ["--samples", samples, "--workers", run.case.workers, "--seconds", plan.seconds, *order]
    try:
        rates = Rates(**run_apart("benchmarks.support.read_tensors", run.case.reader, folder, run.size, *options))
    except FailedError as error:
        if run.case.reader not in PEERS:
            raise
        measured.left_out[run.case.name] = str(error)
        say(str(error))
        return
    measured.add(run, rates)
    say(f"  {run.size} {'shuffled' if run.shuffle else 'in order'}, {run.case.name}: {rates.later:,.0f}/s")


def probe(plan: Plan, *arguments: object) -> dict[str, Any]:
    """One of `benchmarks.support.loader_probes` on the large set."""
    name, *options = arguments
    return run_apart("benchmarks.support.loader_probes", name, plan.find_set("large", "shardwright"), *options)


def say(line: str) -> None:
    """Progress, for who waits."""
    sys.stderr.write(line + "\n")


def main() -> None:
    """Measure, print the page, and keep it."""
    parser = argparse.ArgumentParser(description="Measures the loader beside its peers and limits.")
    parser.add_argument("--data", type=Path, help="where the samples are made and kept; default: a temporary folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--small-samples", type=int, default=40_000)
    parser.add_argument(
        "--seconds", type=float, default=LATER_SECONDS, help="of later epochs that a run reads at least"
    )
    parser.add_argument("--only", default=",".join(READERS), help=f"readers, by commas, of: {', '.join(READERS)}")
    parser.add_argument("--note", default="", help="a line for the page, such as what else ran on the machine")
    parser.add_argument("--result", type=Path, default=RESULT, help="where the page goes")
    options = parser.parse_args()
    readers = frozenset(options.only.split(","))
    if unknown := readers - set(READERS):
        parser.error(f"no reader {sorted(unknown)}, there are {', '.join(READERS)}")
    if options.rounds < 1 or options.samples < 1 or options.small_samples < 1:
        parser.error("--rounds, --samples and --small-samples are at least 1")
    samples = {"large": options.samples, "small": options.small_samples}
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        folder = (options.data or Path(scratch)).resolve()
        measured = measure(Plan(folder, samples, options.rounds, readers, options.seconds))
    packages = ("numpy", "torch", *(peer.package for peer in PEERS.values()))
    machine = [describe_machine(), describe_packages(packages), *filter(None, [options.note])]
    page = format_report(measured, samples, machine)
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
