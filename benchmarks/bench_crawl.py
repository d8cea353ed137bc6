"""From a URL list to shards of 224-pixel images: all stages up to extract, beside img2dataset, which cleans nothing.

    python -m benchmarks.bench_crawl --img2dataset PATH/TO/img2dataset [--urls 30000] [--rounds 2] [--hosts 1]

Images of 640 × 480 pixels lie on a server on loopback. Ours are `stages.crawl`, `ingest`, `clean`, `align` and
`extract` one after another, with an empty cache, their start-up included, and `shardwright verify` outside of the time;
img2dataset has 2 processes with 64 threads each. In turn; the best round of each counts. img2dataset wants other
releases of what the project uses, so it has a venv of its own. With `--hosts` the server has several names, and two
processes crawl. Then a crawl of 10,000 URLs, and one that asks whether
they have changed. Writes `benchmarks/results/crawl.md`; with `--again`, only the part about the second crawl.
"""

import argparse
import csv
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.copies import BEFORE_EXTRACT, CHECKOUT, Changes, Copy, Run
from benchmarks.support.crawl_again import crawl_twice, describe
from benchmarks.support.extract_corpora import draw_image

RESULT = CHECKOUT / "benchmarks/results/crawl.md"
AGAIN = "\n## A second crawl"
"""Begins that part of the page."""
AGAIN_URLS = 10_000
SIDE = 224


MOTIFS = 64
"""Images that the others are shifted copies of: to draw one takes ten times as long as to encode it."""


@cache
def draw_motif(number: int) -> NDArray[np.uint8]:
    """One of them, (height, width, 3)."""
    return draw_image(np.random.default_rng(number))


def write_image(number: int, folder: Path) -> None:
    """A JPEG of some 80 kB, another for each number below 40,000."""
    import cv2

    pixels = np.roll(draw_motif(number % MOTIFS), number // MOTIFS, axis=1)
    cv2.imwrite(str(folder / f"{number:06d}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])


def make_images(folder: Path, urls: int) -> None:
    """All images, on two processes."""
    folder.mkdir(parents=True)
    with Pool(2) as pool:
        pool.map(partial(write_image, folder=folder), range(urls), chunksize=64)


def name_hosts(count: int) -> list[str]:
    """Names of the server."""
    return [f"images-{number}.test" for number in range(count)]


def write_list(path: Path, hosts: Sequence[str], urls: int) -> None:
    """A URL list: csv with the columns url and caption."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("url", "caption"))
        names = itertools.cycle(hosts)
        writer.writerows((f"http://{next(names)}/{number:06d}.jpg", f"Image {number}") for number in range(urls))


@contextmanager
def serve(folder: Path) -> Iterator[int]:
    """The port of a server of the folder's files."""
    command = [sys.executable, "-m", "benchmarks.support.image_server", str(folder)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()


def find_changes(port: int, hosts: int = 1) -> Changes:
    """Params that make of a list what img2dataset does: images of one size as JPEG, cut at the centre; captions."""
    return {
        "crawl": {
            "start": [],
            "lists": [{"file": "images.csv", "url": "url", "caption": "caption"}],
            "hosts": dict.fromkeys(name_hosts(hosts), f"127.0.0.1:{port}"),
            "per_host": 64,
        },
        "ingest": {"page_text": None, "page_label": None},
        "align": {
            "by": "page",
            "label": "none",
            "modalities": {"audio": None, "video": None},
            "duplicates": {"exact": "keep", "near": "keep", "share_split": "all"},
        },
        "extract": {
            "shard_bytes": 64 << 20,
            "image": {"height": SIDE, "width": SIDE, "fit": "crop", "store": "jpeg", "quality": 95},
        },
        "run": {"workers": 2, "progress": False},
    }


def run_ours(copy: Copy) -> Run:
    """All stages with nothing kept from before."""
    for name in (".cache", "data"):
        shutil.rmtree(copy.folder / name, ignore_errors=True)
    run = copy.run_stages(*BEFORE_EXTRACT, "extract")
    copy.run("shardwright", "verify", "data/5_shards")
    return run


def run_peer(program: Path, urls: Path, out: Path) -> float:
    """Seconds of img2dataset."""
    shutil.rmtree(out, ignore_errors=True)
    options = {
        "url_list": urls,
        "input_format": "csv",
        "url_col": "url",
        "caption_col": "caption",
        "output_folder": out,
        "output_format": "webdataset",
        "image_size": SIDE,
        "resize_mode": "center_crop",
        "processes_count": 2,
        "thread_count": 64,
        "number_sample_per_shard": 1000,
        "enable_wandb": False,
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    start = time.monotonic()
    subprocess.run(
        [program, *words], env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}, capture_output=True, check=True
    )
    return time.monotonic() - start


def bench(work: Path, options: argparse.Namespace) -> Iterator[str]:
    """Measure in turn and give the lines of the page."""
    images, copy = work / "images", Copy(work / "copy")
    if not images.exists():
        make_images(images, options.urls)
    ours: list[Run] = []
    theirs: list[float] = []
    with serve(images) as port:
        copy.make(find_changes(port, options.hosts))
        write_list(copy.folder / "lists/images.csv", name_hosts(options.hosts), options.urls)
        write_list(work / "urls.csv", [f"127.0.0.1:{port}"], options.urls)
        for _ in range(options.rounds):
            ours.append(run_ours(copy))
            sys.stderr.write(f"shardwright {ours[-1].wall:.0f} s\n")
            if options.img2dataset:
                theirs.append(run_peer(options.img2dataset, work / "urls.csv", work / "theirs"))
                sys.stderr.write(f"img2dataset {theirs[-1]:.0f} s\n")
    best = min(ours, key=lambda run: run.wall)
    yield f"# From a list of {options.urls:,} URLs to shards\n"
    yield "2 processes, start-up included, the best of the rounds in turn. `python -m benchmarks.bench_crawl` made"
    yield "this.\n"
    yield "| | seconds | images/s |"
    yield "| --- | --- | --- |"
    yield f"| shardwright, all five stages | {best.wall:.1f} | {options.urls / best.wall:.0f} |"
    yield from (
        f"| … {name} | {seconds:.1f} | {options.urls / seconds:.0f} |" for name, seconds in best.seconds.items()
    )
    if theirs:
        yield f"| img2dataset | {min(theirs):.1f} | {options.urls / min(theirs):.0f} |"
        whole, crawl = (min(theirs) / seconds for seconds in (best.wall, best.seconds["crawl"]))
        yield f"\nThe whole way is {whole:.2f} × img2dataset (target ≥ 1.5, aim 2), "
        yield f"the crawl alone {crawl:.1f} × (≥ 2.5)."
    yield f"\n```\n{best.said.strip()}\n```"


def bench_again(work: Path, options: argparse.Namespace) -> Iterator[str]:
    """Measure a second crawl of what has not changed, and give the lines of the page."""
    urls = min(options.urls, AGAIN_URLS)
    images, copy = work / "images", Copy(work / "again")
    if not images.exists():
        make_images(images, urls)
    with serve(images) as port:
        changes = find_changes(port)
        copy.make(changes)
        write_list(copy.folder / "lists/images.csv", name_hosts(1), urls)
        rounds = [crawl_twice(copy, changes["crawl"], port) for _ in range(options.rounds)]
    yield from describe(rounds, urls)


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hosts", type=int, default=1, help="names of the server, among which the URLs are divided")
    parser.add_argument("--img2dataset", type=Path, help="the program, in a venv of its own")
    parser.add_argument("--again", action="store_true", help="measure a second crawl alone")
    parser.add_argument("--keep", type=Path, help="work in this folder, which is empty or missing, and leave it")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
        work = (options.keep or Path(scratch)).resolve()
        shards = (
            options.out.read_text().partition(AGAIN)[0] if options.again else "\n".join(bench(work, options)) + "\n"
        )
        text = shards + "\n" + "\n".join(bench_again(work, options)) + "\n"
    options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
