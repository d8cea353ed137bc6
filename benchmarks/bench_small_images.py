"""Many small images in class folders, from the folder to shards, beside the usual script.

    python -m benchmarks.bench_small_images [--images 60000] [--rounds 2]

Makes JPEGs of 32 × 32 pixels. The script: a pool of two processes with OpenCV, and webdataset's writer; it checks
nothing, drops nothing and records nothing. Stages and script take turns, on two processes each; the fastest round
counts. Then one image more: the stages again. Writes `benchmarks/results/small_images.md`; 4 minutes on 2 cores.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.support.copies import CHECKOUT, Changes, Copy

RESULT = CHECKOUT / "benchmarks/results/small_images.md"
STAGES = ("list", "ingest", "clean", "align", "extract")
SIDE, CLASSES = 32, 10

CHANGES: Changes = {
    "crawl": {"start": [], "lists": [], "hosts": {}},
    "ingest": {"root": "corpus", "page_text": None, "page_label": None},
    "clean": {"image": {"min_side": 8}},
    "align": {
        "by": "pattern",
        "label": "path",
        "classes": None,
        "modalities": {"image": {"pattern": r"(?P<key>(?P<label>[^/]+)/[^/]+)\.jpg"}}
        | dict.fromkeys(("audio", "text", "video")),
        "duplicates": {"exact": "drop", "near": "keep"},
    },
    "extract": {"image": {"height": SIDE, "width": SIDE}},
    "run": {"workers": 2, "progress": False},
}


def write_image(number: int, folder: Path) -> None:
    """One image, the same on every machine."""
    import cv2

    coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    path = folder / f"class{number % CLASSES}" / f"{number:07d}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))


def read_sample(path: str) -> dict[str, object]:
    """What the usual script makes of an image."""
    import cv2

    image = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    file = io.BytesIO()
    np.save(file, image)
    label, name = path.split("/")[-2:]
    return {"__key__": f"{label}-{name[:-4]}", "image.npy": file.getvalue(), "cls": label.encode()}


def run_script(folder: Path, out: Path) -> float:
    """The usual script; return its seconds."""
    import webdataset

    start = time.perf_counter()
    paths = sorted(str(path) for path in folder.glob("*/*.jpg"))
    out.mkdir()
    with (
        webdataset.ShardWriter(f"{out}/train-%06d.tar", maxcount=5000, verbose=0) as writer,
        get_context("spawn").Pool(2) as pool,
    ):
        for sample in pool.imap(read_sample, paths, chunksize=256):
            writer.write(sample)
    return time.perf_counter() - start


def describe(seconds: dict[str, float]) -> str:
    return f"{sum(seconds.values()):.1f} s ({', '.join(f'{name} {value:.1f}' for name, value in seconds.items())})"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    stages: list[dict[str, float]] = []
    walls: list[float] = []
    scripts: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch) / "corpus"
        with get_context("spawn").Pool(2) as pool:
            pool.map(partial(write_image, folder=corpus), range(options.images), chunksize=500)
        for number in range(options.rounds):
            copy = Copy(Path(scratch) / f"copy-{number}")
            copy.make(CHANGES)
            (copy.folder / "corpus").symlink_to(corpus)
            copy.run_stages("crawl")
            run = copy.run_stages(*STAGES)
            stages.append(dict(run.seconds))
            walls.append(run.wall)
            scripts.append(run_script(corpus, Path(scratch) / f"script-{number}"))
        write_image(options.images, corpus)
        more = copy.run_stages(*STAGES)
    best = min(stages, key=lambda seconds: sum(seconds.values()))
    text = "\n".join(
        [
            "# Many small images",
            "",
            f"{options.images:,} JPEGs of {SIDE} × {SIDE} pixels in {CLASSES} class folders, from folder to shards, "
            f"two processes each, best of {options.rounds} rounds in turn, load {os.getloadavg()[1]:.1f} on "
            f"{os.cpu_count()} cores.",
            "",
            "| | seconds |",
            "| --- | --- |",
            f"| usual script: pool of two with OpenCV, webdataset's writer | {min(scripts):.1f} |",
            f"| the stages, by their own clocks | {describe(best)} |",
            f"| the stages, processes started and ended | {min(walls):.1f} |",
            f"| stages / script | {sum(best.values()) / min(scripts):.2f} ({min(walls) / min(scripts):.2f}) |",
            f"| one image more: the stages | {describe(dict(more.seconds))}, {more.wall:.1f} in all |",
        ]
    )
    print(text)
    options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
