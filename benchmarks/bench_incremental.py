"""What 1 % of new samples costs: counted calls, time, and bytes, against a build from nothing.

`python -m benchmarks.bench_incremental [SAMPLES]` (10,000 unless told otherwise) writes
`benchmarks/results/incremental.md`. It builds a corpus of 99 % of the samples with `dvc repro extract`, adds the rest,
and runs `dvc repro extract` again; a second copy of the checkout builds the whole from nothing. All of that with
images stored as tensors, and again with images stored as JPEG files.

A stage's own time is what its summary line says, less what the same stage says on a corpus of eight samples: starting
two workers and loading the libraries. What no build can do without that holds kept shards to their sha256 is measured
beside it: two processes that hash all shards and write those that changed, and do nothing else.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import Any

from benchmarks.support.copies import CHECKOUT, Changes, Copy, Run
from benchmarks.support.incremental_corpus import SIDE, list_files, write_sample

RESULTS = CHECKOUT / "benchmarks/results/incremental.md"
STAGES = ("list", "crawl", "ingest", "clean", "align", "extract")
NEW_SHARE = 0.01
TINY = 8
STORES = {"tensor": "tensors", "jpeg": "JPEG files"}

ITEM = r"(?P<key>(?P<label>class-[0-9]+)/[0-9]+)"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "crawl": {"start": [], "lists": []},
    "ingest": {"root": "corpus", "text": "whole", "page_text": None, "page_label": None},
    "align": {
        "by": "pattern",
        "label": "path",
        "modalities": {
            "image": {"required": True, "pattern": ITEM + r"\.jpg", "part": None},
            "audio": {"required": True, "pattern": ITEM + r"\.wav", "part": None},
            "text": {"required": True, "pattern": ITEM + r"\.txt", "part": None},
            "video": None,
        },
        "duplicates": {"exact": "drop", "near": "keep", "share_split": "all"},
    },
    "run": {"workers": 2, "progress": False},
}


def find_changes(store: str, text: Mapping[str, Any]) -> Changes:
    """The params of the benchmark: how images are stored; `text` changes `extract.text`."""
    return {**CHANGES, "extract": {"image": {"height": SIDE, "width": SIDE, "store": store}, "text": text}}


def link_corpus(copy: Copy, corpus: Path, numbers: range) -> None:
    """Give the samples of these numbers to the copy: hard links, as if they had been there always."""
    for number in numbers:
        for path in list_files(corpus, number):
            place = copy.folder / "corpus" / path.parent.name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


def make_corpus(folder: Path, samples: int) -> None:
    """All samples, on two processes."""
    with Pool(2) as pool:
        pool.starmap(write_sample, ((folder, number) for number in range(samples)), chunksize=64)


def count_new(samples: int) -> int:
    """How many of the samples are new."""
    return max(1, round(samples * NEW_SHARE))


def bench(work: Path, samples: int, stores: Sequence[str]) -> Iterator[str]:
    """Run all and give the lines of the page."""
    yield f"# {count_new(samples)} new of {samples:,} samples\n"
    yield f"{samples:,} samples of a JPEG of {SIDE} × {SIDE}, 1 to 2 s of audio and a caption; 2 workers."
    yield "`python -m benchmarks.bench_incremental` made this."
    make_corpus(work / "corpus", samples)
    for store in stores:
        folder = work / store
        folder.mkdir()
        yield f"\n## Images stored as {STORES[store]}\n"
        yield from compare(folder, work / "corpus", samples, store)
        shutil.rmtree(folder)


def compare(work: Path, corpus: Path, samples: int, store: str) -> Iterator[str]:
    """The section of one way to store images."""
    new = count_new(samples)
    tiny, grown, anew = (Copy(work / name) for name in ("tiny", "grown", "anew"))
    for copy, numbers in ((tiny, range(TINY)), (grown, range(samples - new)), (anew, range(samples))):
        copy.make(find_changes(store, {}))
        link_corpus(copy, corpus, numbers)
    start_up, _ = tiny.reproduce(), grown.reproduce()
    frozen = freeze_vocabulary(grown, store)
    settled = grown.reproduce()
    before = hash_each(grown)
    link_corpus(grown, corpus, range(samples - new, samples))
    more = grown.reproduce()
    anew.write_params(find_changes(store, frozen))
    shutil.copy(grown.folder / "frozen.json", anew.folder)
    full = anew.reproduce()
    limit, changed = measure_limit(grown, before, work / "limit")
    same = grown.hash_shards() == anew.hash_shards()
    idle = touch(grown)
    grown.write_params(find_changes(store, {}))
    free = grown.reproduce()
    yield from report({"start": start_up, "settled": settled, "more": more, "full": full, "free": free})
    share = limit / (full.seconds["extract"] - start_up.seconds["extract"])
    yield f"\nTwo processes that only hash all shards and write the {changed} that changed: {limit:.1f} s, {share:.1%}."
    verdict = "the same" if same else "DIFFERENT"
    yield f"\nThe shards of the incremental build and of the build from nothing are {verdict}."
    yield f"After `touch` of all files of the corpus and nothing else, {idle} stages ran."


def freeze_vocabulary(copy: Copy, store: str) -> dict[str, Any]:
    """Keep what was learned, and let the params name it."""
    content = (copy.folder / "data/5_shards/vocabulary.json").read_bytes()
    (copy.folder / "frozen.json").write_bytes(content)
    text = {"frozen": {"path": "frozen.json", "sha256": hashlib.sha256(content).hexdigest()}}
    copy.write_params(find_changes(store, text))
    return text


def list_shards(copy: Copy) -> list[Path]:
    """The shards of the copy, sorted."""
    return sorted((copy.folder / "data/5_shards").glob("*/*.tar"))


def hash_file(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_each(copy: Copy) -> dict[str, str]:
    """The sha256 of each shard."""
    with Pool(2) as pool:
        paths = list_shards(copy)
        return {path.name: sha256 for path, sha256 in zip(paths, pool.map(hash_file, paths), strict=True)}


def write_again(path: Path, folder: Path) -> None:
    """Write the bytes of a file anew, and hash them."""
    content = path.read_bytes()
    hashlib.sha256(content)
    (folder / path.name).write_bytes(content)


def measure_limit(copy: Copy, before: Mapping[str, str], folder: Path) -> tuple[float, int]:
    """Seconds to hash the shards that were there before and to write and hash the others; and how many those are."""
    after, paths = hash_each(copy), list_shards(copy)
    changed = [path for path in paths if after[path.name] != before.get(path.name)]
    kept = [path for path in paths if path not in changed]
    folder.mkdir()
    with Pool(2) as pool:
        start = time.monotonic()
        pool.starmap(write_again, [(path, folder) for path in changed], chunksize=4)
        pool.map(hash_file, kept, chunksize=4)
        return time.monotonic() - start, len(changed)


def touch(copy: Copy) -> int:
    """How many stages run after every file of the corpus got a new time."""
    for path in (copy.folder / "corpus").rglob("*.*"):
        path.touch()
    return len(copy.reproduce().seconds)


def report(runs: Mapping[str, Run]) -> Iterator[str]:
    """The table, and the ratios that are promised."""
    start, more, full, free = (runs[name] for name in ("start", "more", "full", "free"))
    yield "| | from nothing | 1 % new | 1 % new, vocabulary learned anew | start-up |"
    yield "| --- | --- | --- | --- | --- |"
    for stage in STAGES:
        cells = (f"{run.seconds.get(stage, 0.0):.1f} s" for run in (full, more, free, start))
        yield f"| {stage} | {' | '.join(cells)} |"
    walls = (f"{run.wall:.1f} s" for run in (full, more, free, start))
    yield f"| `dvc repro extract` | {' | '.join(walls)} |"
    for what in ("checks", "features"):
        counts = (f"{run.read_counts(what)[1]:,}" for run in (full, more, free, start))
        yield f"| {what} computed | {' | '.join(counts)} |"
    own = [max(0.0, run.seconds["extract"] - start.seconds["extract"]) for run in (more, full)]
    yield f"\nextract's own time, start-up aside: {own[0]:.1f} s of {own[1]:.1f} s, {own[0] / own[1]:.1%}."
    yield f"The whole `dvc repro extract`: {more.wall:.1f} s of {full.wall:.1f} s, {more.wall / full.wall:.1%}."


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description="What 1 %% of new samples costs.")
    parser.add_argument("samples", type=int, nargs="?", default=10_000)
    parser.add_argument("--stores", default=",".join(STORES), help="of those, by commas")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = "\n".join(bench(Path(work), options.samples, options.stores.split(","))) + "\n"
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
