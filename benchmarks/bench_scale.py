"""How time and memory grow with the number of samples: 1,000, 10,000, 100,000.

    python -m benchmarks.bench_scale [--samples 1000,10000,100000]

Samples of a small image, a short clip and a caption, from a folder, stage by stage: mixed of the stamps
(`benchmarks.support.stamp_mixtures`), or noise where those are missing. Memory is what a process has for itself
(`RssAnon`), looked at every 50 ms: of the stage's own process, with Dask's scheduler and worker in it, and of the
largest process that works on items. Writes `benchmarks/results/scale.md`; the largest takes half an hour on 2 cores.
"""

import argparse
import itertools
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.copies import CHECKOUT, Changes, Copy
from benchmarks.support.stamp_mixtures import find_stamps, read_stamps

RESULT = CHECKOUT / "benchmarks/results/scale.md"
STAGES = ("list", "ingest", "clean", "align", "extract")
SIDE, RATE, SECONDS = 32, 8_000, 0.5
FOLDERS = 100
Drawn = tuple[NDArray[np.uint8], NDArray[np.float32], str]
"""An image, a clip and a caption."""
KEY = "(?P<key>(?P<label>[^/]+)/[0-9]+)"
LOOK = 0.05

CHANGES: Changes = {
    "crawl": {"start": [], "lists": []},
    "ingest": {"root": "corpus", "page_text": None, "page_label": None},
    "align": {
        "by": "pattern",
        "label": "path",
        "modalities": {
            name: {"required": True, "pattern": KEY + end, "part": None}
            for name, end in {"image": r"\.png", "audio": r"\.wav", "text": r"\.txt"}.items()
        }
        | {"video": None},
        "duplicates": {"exact": "drop", "near": "keep", "share_split": "all"},
    },
    "extract": {
        "image": {"height": SIDE, "width": SIDE},
        "audio": {"rate": RATE, "seconds": SECONDS, "coefficients": 20, "mels": 32},
    },
    "run": {"workers": 2, "progress": False},
}


def write_sample(number: int, folder: Path, stamps: Path | None) -> None:
    """The files of one sample, the same on every machine."""
    import cv2
    import soundfile

    draw = np.random.default_rng(number)
    place = folder / f"class-{number % FOLDERS:02d}"
    stem = f"{number:07d}"
    image, audio, caption = draw_noise(draw, stem) if stamps is None else draw_mixture(draw, stamps)
    cv2.imwrite(str(place / f"{stem}.png"), image)
    soundfile.write(place / f"{stem}.wav", audio, RATE, subtype="PCM_16")
    (place / f"{stem}.txt").write_text(caption + ".\n", encoding="utf-8")


def draw_mixture(draw: np.random.Generator, folder: Path) -> Drawn:
    """A sample mixed of stamps, of one and a half times the size that its fields have."""
    stamps = read_stamps(folder, RATE)
    frames = int(RATE * SECONDS * draw.uniform(0.5, 1.5))
    return stamps.draw_image(draw, SIDE * 3 // 2), stamps.draw_clip(draw, frames), stamps.draw_caption(draw)


def draw_noise(draw: np.random.Generator, stem: str) -> Drawn:
    """A sample of noise, and of drawn words."""
    import cv2

    coarse = draw.integers(0, 256, (6, 6, 3), np.uint8)
    image = np.asarray(cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    audio = draw.normal(0, 0.1, int(RATE * SECONDS)) * np.sin(np.arange(RATE * SECONDS) * draw.uniform(0.01, 0.5))
    words = (draw.zipf(1.3, 8) - 1) % 3000
    digits = " ".join(f"digit{digit}" for digit in stem)  # each caption another, of few different words
    return image, audio.astype(np.float32), f"{digits}: " + " ".join(f"word{word}" for word in words)


def make_corpus(folder: Path, samples: int, stamps: Path | None) -> None:
    """All samples, on two processes."""
    for number in range(FOLDERS):
        (folder / f"class-{number:02d}").mkdir(parents=True)
    if stamps is not None:
        read_stamps(stamps, RATE)  # before the processes start, which then have them
    with Pool(2) as pool:
        pool.map(partial(write_sample, folder=folder, stamps=stamps), range(samples), chunksize=256)


@dataclass
class Peak:
    """The most bytes that a process and, one by one, those that it started had for themselves; CPU seconds of all."""

    driver: int = 0
    worker: int = 0
    cpu: float = 0.0

    def look(self, pid: int) -> None:
        """Look at a process and at all below it."""
        self.driver = max(self.driver, read_own_bytes(pid))
        for child in list_descendants(pid):
            self.worker = max(self.worker, read_own_bytes(child))


def read_own_bytes(pid: int | str) -> int:
    """`RssAnon` of a process; 0 where it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def read_cpu() -> float:
    """CPU seconds of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def list_descendants(pid: int) -> Iterator[int]:
    """All processes below one."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in map(int, (task / "children").read_text().split()):
                    yield child
                    yield from list_descendants(child)


def run_stage(copy: Copy, name: str) -> tuple[float, Peak]:
    """Seconds and memory of one stage.

    Raises:
        SystemExit: it failed.
    """
    start, started, peak, ended = time.monotonic(), read_cpu(), Peak(), threading.Event()
    with subprocess.Popen(
        [sys.executable, "-m", f"stages.{name}"],
        cwd=copy.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:

        def watch() -> None:
            while not ended.wait(LOOK):
                peak.look(process.pid)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            said, complaint = process.communicate()
        finally:
            ended.set()
            watcher.join()
    if process.returncode:
        raise SystemExit(said + complaint)
    sys.stderr.write(said)
    peak.cpu = read_cpu() - started
    return time.monotonic() - start, peak


def measure(work: Path, samples: int) -> dict[str, tuple[float, Peak]]:
    """Every stage on so many samples."""
    copy = Copy(work / str(samples))
    copy.make(CHANGES)
    make_corpus(copy.folder / "corpus", samples, find_stamps())
    copy.run_stages("crawl")
    os.sync()
    return {name: run_stage(copy, name) for name in STAGES}


def report(measured: Mapping[int, Mapping[str, tuple[float, Peak]]]) -> Iterator[str]:
    """The tables, and growth between the two largest."""
    sizes = sorted(measured)
    yield "# Growth with the number of samples\n"
    kind = "noise, as the stamps are missing" if find_stamps() is None else "mixed of the stamps"
    yield f"Samples {kind}; 2 workers, stage by stage, start-up included; {os.cpu_count()} cores with a load of"
    yield f"{os.getloadavg()[2]:.0f}. `python -m benchmarks.bench_scale` made this.\n"
    yield "CPU seconds of all processes (seconds by the clock):\n"
    yield "| samples | " + " | ".join(STAGES) + " | all |"
    yield "| --- " * (len(STAGES) + 2) + "|"
    for size in sizes:
        times = [(measured[size][name][1].cpu, measured[size][name][0]) for name in STAGES]
        times.append((sum(cpu for cpu, _ in times), sum(seconds for _, seconds in times)))
        yield f"| {size:,} | " + " | ".join(f"{cpu:.1f} ({seconds:.1f})" for cpu, seconds in times) + " |"
    yield "\nMB of the stage's own process, and of the largest that works on items:\n"
    yield "| samples | " + " | ".join(STAGES) + " |"
    yield "| --- " * (len(STAGES) + 1) + "|"
    for size in sizes:
        peaks = [measured[size][name][1] for name in STAGES]
        yield f"| {size:,} | " + " | ".join(f"{p.driver / 1e6:.0f}, {p.worker / 1e6:.0f}" for p in peaks) + " |"
    if len(sizes) > 1:
        yield from describe_growth(measured, sizes)


def describe_growth(measured: Mapping[int, Mapping[str, tuple[float, Peak]]], sizes: Sequence[int]) -> Iterator[str]:
    """Exponent of the CPU time, bytes a sample of the driver, growth of the workers, from size to size."""
    yield "\n| from, to | " + " | ".join(STAGES) + " |"
    yield "| --- " * (len(STAGES) + 1) + "|"
    for small, large in itertools.pairwise(sizes):
        cells = []
        for name in STAGES:
            (_, low), (_, high) = measured[small][name], measured[large][name]
            exponent = math.log(high.cpu / low.cpu) / math.log(large / small)
            own = (high.driver - low.driver) / (large - small)
            grown = f", workers {high.worker / low.worker - 1:+.0%}" if low.worker else ""
            cells.append(f"CPU n^{exponent:.2f}, driver {own:.0f} B a sample{grown}")
        yield f"| {small:,}, {large:,} | " + " | ".join(cells) + " |"


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default="1000,10000,100000")
    parser.add_argument("--keep", type=Path, help="work in this folder, which is empty or missing, and leave it")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        work = (options.keep or Path(scratch)).resolve()
        measured = {size: measure(work, size) for size in map(int, options.samples.split(","))}
    text = "\n".join(report(measured)) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
