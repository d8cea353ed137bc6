"""How time and memory of the search for duplicates grow with the number of items, and which copies it finds.

    python -m benchmarks.bench_near [--items 1000000,3000000] [--stamps FOLDER] [--copied 100]

Items are mixtures of the images and narrations of the stamps, with copies and near copies planted among them. Time is
that of the processor; memory is what the process has for itself (`RssAnon`), looked at every 20 ms, while the hashes
lie on disk: 300 bytes an item. Recall is that of narrations encoded anew. Writes `benchmarks/results/near.md`.
"""

import argparse
import math
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.bench_scale import read_own_bytes
from benchmarks.support.copies import CHECKOUT
from benchmarks.support.near_mixtures import Mixer, mix_images, mix_narrations
from benchmarks.support.recorded_copies import measure_recall
from pipeline.clean.equal_rows import find_equal_rows
from pipeline.clean.near_duplicates import find_near_clusters, normalize_thumbnails
from pipeline.clean.params import CleanParams, Nearness
from pipeline.modalities.audio import check as audio
from pipeline.modalities.image import check as image
from pipeline.modalities.perceptual_hash import Limits, compute_bits
from pipeline.tables.connected_components import Indexes

RESULT = CHECKOUT / "benchmarks/results/near.md"
STAMPS = Path(os.environ.get("SHARDWRIGHT_STAMPS", CHECKOUT / "../shared/data/stamps"))
LOOK = 0.02
BATCH = 8192
NEAR, EQUAL = 50, 100  # one of so many items is near one of the batch before, or equal to it
NOISE = 1.0  # levels: standard deviation of the cells of a near copy
LIMITS: Mapping[str, Limits] = {"image": image.HASH_LIMITS, "audio": audio.find_hash_limits}
MIXERS: Mapping[str, Callable[[Path], Mixer]] = {"image": mix_images, "audio": mix_narrations}


@dataclass(frozen=True)
class Cost:
    """What a search took: seconds of processor time, seconds on the clock, bytes; and the clusters that it found."""

    cpu: float
    wall: float
    memory: int
    clusters: int


def write_hashes(folder: Path, modality: str, mix: Mixer, count: int) -> None:
    """Write bits, normalized thumbnails and sha256s of so many items, with copies among them."""
    bits = np.lib.format.open_memmap(folder / "bits.npy", "w+", np.uint64, (count,))
    thumbnails = np.lib.format.open_memmap(folder / "thumbnails.npy", "w+", np.uint8, (count, 256))
    sha256s = np.lib.format.open_memmap(folder / "sha256s.npy", "w+", "S32", (count,))
    draw, before = np.random.default_rng(1), None
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        cells, names = mix(draw, size), draw.integers(256, size=(size, 32), dtype=np.uint8)
        if before is not None:
            near, equal = np.arange(0, size, NEAR), np.arange(1, size, EQUAL)
            originals = before[0][draw.integers(len(before[0]), size=len(near))]
            cells[near] = np.clip(np.rint(originals + draw.normal(0, NOISE, originals.shape)), 0, 255).astype(np.uint8)
            copied = draw.integers(len(before[0]), size=len(equal))
            cells[equal], names[equal] = before[0][copied], before[1][copied]
        before = cells, names
        part = slice(start, start + size)
        bits[part] = compute_bits(cells, LIMITS[modality])
        thumbnails[part] = normalize_thumbnails(cells.reshape(size, -1))
        sha256s[part] = names.view("S32")[:, 0]


def search_exact(folder: Path, _: Nearness) -> int:
    """Return the number of exact clusters."""
    return count_clusters(find_equal_rows(np.load(folder / "sha256s.npy", mmap_mode="r")))


def search_near(folder: Path, nearness: Nearness) -> int:
    """Return the number of near clusters."""
    bits, thumbnails = (np.load(folder / name, mmap_mode="r") for name in ("bits.npy", "thumbnails.npy"))
    return count_clusters(find_near_clusters(bits, thumbnails, *nearness))


def count_clusters(clusters: Indexes) -> int:
    """Return how many items are the first of their cluster."""
    return int(np.count_nonzero(clusters == np.arange(len(clusters))))


def measure(search: Callable[[Path, Nearness], int], folder: Path, nearness: Nearness) -> Cost:
    """Run a search in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(watch, (search, folder, nearness))


def watch(search: Callable[[Path, Nearness], int], folder: Path, nearness: Nearness) -> Cost:
    """Run a search in this process, and look at its memory all the time."""
    before, peak, ended = read_own_bytes(os.getpid()), 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(LOOK):
            peak = max(peak, read_own_bytes(os.getpid()))

    watcher = threading.Thread(target=look)
    watcher.start()
    cpu, wall = time.process_time(), time.monotonic()
    clusters = search(folder, nearness)
    cost = time.process_time() - cpu, time.monotonic() - wall
    ended.set()
    watcher.join()
    return Cost(*cost, peak - before, clusters)


def report(measured: Mapping[str, Mapping[int, Cost]], recall: Mapping[str, float], copied: int) -> Iterator[str]:
    """The tables of costs, growth and recall."""
    yield "# Search for duplicates\n"
    yield "Mixtures of the stamps' images and narrations, hashes on disk, one process: seconds of the processor, and"
    yield "what the process has for itself. `python -m benchmarks.bench_near` made this.\n"
    yield "| search | items | seconds | memory, MB | clusters | growth of time |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, costs in measured.items():
        growth = {
            many: f"n^{math.log(costs[many].cpu / costs[few].cpu) / math.log(many / few):.2f}"
            for few, many in pairwise(sorted(costs))
        }
        for items, cost in sorted(costs.items()):
            yield (
                f"| {name} | {items:,} | {cost.cpu:.1f} | {cost.memory / 1e6:.0f} | {cost.clusters:,} "
                f"| {growth.get(items, '')} |"
            )
    if recall:
        yield f"\nCopies of {copied} narrations that are near their originals:\n"
        yield "| copy | found |"
        yield "| --- | --- |"
        for kind, share in recall.items():
            yield f"| {kind} | {share:.1%} |"


def measure_all(stamps: Path, sizes: Sequence[int]) -> dict[str, dict[int, Cost]]:
    """Every search at every size."""
    nearness = CleanParams().nearness
    measured: dict[str, dict[int, Cost]] = {"exact": {}, **{f"near, {modality}": {} for modality in MIXERS}}
    for modality, make_mixer in MIXERS.items():
        mix = make_mixer(stamps)
        for items in sizes:
            with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
                folder = Path(scratch)
                write_hashes(folder, modality, mix, items)
                if items not in measured["exact"]:
                    measured["exact"][items] = measure(search_exact, folder, nearness[modality])
                cost = measured[f"near, {modality}"][items] = measure(search_near, folder, nearness[modality])
                sys.stderr.write(f"{modality}, {items:,}: {cost}\n")
    return measured


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="1000000,3000000")
    parser.add_argument("--stamps", type=Path, default=STAMPS)
    parser.add_argument("--copied", type=int, default=100, help="narrations whose copies are looked for; 0 for none")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    measured = measure_all(options.stamps, [int(items) for items in options.items.split(",")])
    paths = sorted(options.stamps.rglob("*.ogg"))
    paths = paths[:: max(1, len(paths) // options.copied)][: options.copied] if options.copied else []
    recall = measure_recall(paths, CleanParams().nearness["audio"]) if paths else {}
    text = "\n".join(report(measured, recall, len(paths))) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
