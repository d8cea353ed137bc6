"""Ingest alone: small files in class folders, and crawled rows in rising numbers, for time and the driver's memory.

    python -m benchmarks.bench_ingest [--files 60000] [--rows 250000 1000000] [--table-memory "256 MB"] [--rounds 3]

The files are JPEGs of 32 × 32 noise in ten folders. The rows are responses of 128 bytes that look like PNGs, each
another one, from as many hosts as there are thousands; nothing is copied of them. 2 workers; each run is a process of
its own, whose start-up is not in the time; the best of the rounds counts. Writes `benchmarks/results/ingest.md`.
"""

import argparse
import hashlib
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.params import RunParams
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import TarStore
from pipeline.tables.columns import Row
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER, LIST_ROWS
from pipeline.tables.table_files import write_table

RESULT = Path(__file__).parent / "results/ingest.md"
WORKERS = 2
CLASSES = 10
HOST_ROWS = 1000
RESPONSE_BYTES = 128
PNG = b"\x89PNG\r\n\x1a\n"


def write_files(folder: Path, count: int) -> None:
    """JPEGs in class folders."""
    import cv2

    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
        cv2.imwrite(str(folder / f"class{number % CLASSES}/{number:06d}.jpg"), pixels)


def write_rows(data: Path, count: int) -> None:
    """The output of a crawl."""
    with TarStore(data / CRAWLED_FOLDER, CRAWLED_FOLDER, "responses") as store:
        write_table(data / CRAWLED_FOLDER / "crawl", make_rows(store, count), CRAWLED)
        write_table(data / CRAWLED_FOLDER / "list_rows", [], LIST_ROWS)


def make_rows(store: TarStore, count: int) -> Iterator[Row]:
    """The rows of a crawl, whose responses are written to `store`, in the order of the URLs."""
    for number in range(count):
        url = f"http://host{number // HOST_ROWS:06d}.test/images/{number:09d}.png"
        body = PNG + b"%0*d" % (RESPONSE_BYTES - len(PNG), number)
        location, sha256 = store.write(str(number), body), hashlib.sha256(body).hexdigest()
        place = {"sha256": sha256, "tar": location.tar, "offset": location.offset, "size": location.size}
        yield {**dict.fromkeys(CRAWLED), "url": url, "page": url, "depth": 0, "detail": "", "status": 200, **place}


def run_once(data: Path, root: Path, table_memory: str) -> dict[str, float]:
    """Ingest in this process; return the seconds, those of CPU of all processes, and the driver's largest memory."""
    work = data / "work"
    work.mkdir()
    run = RunParams(workers=WORKERS, cache=str(data / "cache"), progress=False, table_memory=table_memory)
    params = IngestParams(root=str(root))
    start = time.monotonic()
    outcome = ingest(params, Workspace(data, work, data / "cache", run))
    seconds = time.monotonic() - start
    outcome.check()
    shutil.rmtree(work)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "files": outcome.seen,
        "seconds": seconds,
        "cpu": sum(each.ru_utime + each.ru_stime for each in used),
        "megabytes": used[0].ru_maxrss / 1024,
    }


def measure(data: Path, root: Path, table_memory: str, rounds: int) -> dict[str, float]:
    """The best of some runs, each in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_ingest", "--run", str(data), str(root)]
    results: list[dict[str, float]] = []
    for _ in range(rounds):
        done = subprocess.run([*command, "--table-memory", table_memory], stdout=subprocess.PIPE, text=True, check=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
    return {key: min(result[key] for result in results) for key in results[0]}


def format_report(results: list[tuple[str, dict[str, float]]], table_memory: str) -> str:
    """The page."""
    lines = [
        "# Ingest of many small files",
        "",
        f"2 workers, `run.table_memory` {table_memory}; the best of the rounds. `python -m benchmarks.bench_ingest`",
        f"made this, beside other work: a load of {os.getloadavg()[2]:.1f} on {os.cpu_count()} cores. CPU is that of",
        "all processes, start-up included; memory is the largest of the driver.",
        "",
        "| | files | seconds | files/s | CPU seconds | MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in results:
        rate = f"{one['files'] / one['seconds']:,.0f}"
        numbers = [
            f"{one['files']:,.0f}",
            f"{one['seconds']:.1f}",
            rate,
            f"{one['cpu']:.1f}",
            f"{one['megabytes']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    if len(results) > 2:
        (_, before), (_, last) = results[-2:]
        steps = math.log(last["files"] / before["files"])
        exponents = [math.log(last[key] / before[key]) / steps for key in ("seconds", "megabytes")]
        large = 5e6 / last["files"]
        seconds, megabytes = (
            last[key] * large**exponent for key, exponent in zip(("seconds", "megabytes"), exponents, strict=True)
        )
        lines += [
            "",
            f"From the last two rows, time grows with the power {exponents[0]:.2f} of the files and memory with "
            f"{exponents[1]:.2f}: 5,000,000 would take {seconds / 60:.1f} minutes and {megabytes:.0f} MB.",
        ]
    return "\n".join(lines) + "\n"


def main(arguments: Any) -> None:
    """Measure, and write the page."""
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty").mkdir()
        write_files(folder / "files", arguments.files)
        write_rows(folder / "data", 0)
        measured = measure(folder / "data", folder / "files", arguments.table_memory, arguments.rounds)
        results.append(("JPEGs of 2 kB", measured))
        for count in arguments.rows:
            shutil.rmtree(folder / "data")
            write_rows(folder / "data", count)
            measured = measure(folder / "data", folder / "empty", arguments.table_memory, arguments.rounds)
            results.append(("crawled rows", measured))
    RESULT.write_text(format_report(results, arguments.table_memory), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=60_000)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--table-memory", default="256 MB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", type=Path, nargs=2)
    given = parser.parse_args()
    if given.run:
        sys.stdout.write(json.dumps(run_once(given.run[0], given.run[1], given.table_memory)) + "\n")
    else:
        main(given)
