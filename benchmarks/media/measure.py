"""Measure one reader on one medium, in this process and those that it starts: `python -m benchmarks.media.measure`.

Its epochs after the first count, which starts processes and fills caches; of these the best.
"""

import argparse
import os
import resource
import shutil
import time
from importlib import import_module
from pathlib import Path

from benchmarks.media.readers import FORMS, READERS
from benchmarks.media.reading import Epoch, Reading
from benchmarks.support.apart import write_outcome
from benchmarks.support.torchvision_stand_in import stand_in


def prepare(medium: str, folder: Path, form: str) -> None:
    """Write a form of a medium out of its tars."""
    partial = folder / f"{form}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was stopped
    FORMS[form](Reading(medium, folder / "tars"), partial)
    partial.rename(folder / form)


def measure(medium: str, name: str, folder: Path, count: int, epochs: int) -> dict[str, float]:
    """Return samples a second and CPU microseconds a sample, of the best epoch each.

    Raises:
        AssertionError: an epoch had fewer or more samples than the set: by a batch for each worker, and by the half.
    """
    reader = READERS[medium][name]
    reading = Reading(medium, folder / reader.form)
    read = reader.open(reading)
    found = [measure_epoch(read) for _ in range(epochs + 1)]
    for samples, _, _ in found:
        assert abs(samples - count) <= min(2 * reading.files.batch, count // 2), f"{samples} samples of {count}"
    rates = [samples / seconds for samples, seconds, _ in found[1:]]
    return {"rate": max(rates), "cpu": min(cpu / samples * 1e6 for samples, _, cpu in found[1:])}


def measure_epoch(read: Epoch) -> tuple[int, float, float]:
    """Samples, seconds and CPU seconds."""
    started, cpu = time.perf_counter(), read_cpu_seconds()
    samples = sum(read())
    return samples, time.perf_counter() - started, read_cpu_seconds() - cpu


def read_cpu_seconds() -> float:
    """CPU seconds of this process and those that it started, also of those that still run."""
    total = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return total + sum(_read_running(child) for child in _list_children("self"))


def _list_children(process: str) -> list[str]:
    return [
        child for task in Path(f"/proc/{process}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def _read_running(process: str) -> float:
    """CPU seconds of a process that still runs, and of those that it started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds + sum(_read_running(child) for child in _list_children(process))


def find_missing() -> dict[str, str]:
    """By module, why readers cannot be measured here."""
    stand_in()
    missing = {}
    for module in {reader.module for readers in READERS.values() for reader in readers.values()}:
        try:
            import_module(module)
        except Exception as error:  # a package beside the wrong release of another one fails with anything
            missing[module] = f"{type(error).__name__}: {error}".splitlines()[0]
    return missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("missing")
    writing = commands.add_parser("prepare")
    reading = commands.add_parser("read")
    for command in (writing, reading):
        command.add_argument("folder", type=Path)
        command.add_argument("medium", choices=READERS)
    writing.add_argument("form", choices=FORMS)
    reading.add_argument("name")
    reading.add_argument("count", type=int)
    reading.add_argument("--epochs", type=int, required=True)
    options = parser.parse_args()
    if options.command == "missing":
        write_outcome(find_missing())
    elif options.command == "prepare":
        prepare(options.medium, options.folder, options.form)
        write_outcome({})
    else:
        write_outcome(measure(options.medium, options.name, options.folder, options.count, options.epochs))


if __name__ == "__main__":
    main()
