"""JPEG files of many sizes in WebDataset tars, read as training code wants them: random order, a random resized crop to
224 × 224, batches of 64 as uint8; beside webdataset, spdl, DALI on the CPU, and two processes that only decode.

    python -m benchmarks.bench_images [--images 4000] [--rounds 3] [--epochs 3] [--note line]

Each reader runs in a process of its own, all in turn, and the best epoch after the first counts: by the clock, and in
CPU time with that of all its processes. A reader whose package is missing is left out by name. Writes
`benchmarks/results/images.md`; ten minutes on 2 cores.
"""

import argparse
import importlib.util
import os
import random
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bench_loader import describe_machine, describe_package
from benchmarks.support.apart import CHECKOUT, run_apart, write_outcome
from benchmarks.support.image_tars import BATCH, SIDE, decode_by_opencv, decode_by_pillow, write_images

RESULT = CHECKOUT / "benchmarks/results/images.md"
OURS = "ops.Image, threads=2"
CORES = 2

Epoch = Callable[[int], Iterable[int]]
"""Reads an epoch, and yields the samples of each batch."""


def open_ours(paths: Sequence[str], threads: int, antialias: bool = True) -> Epoch:
    """Declared operations."""
    from shardwright import Loader, ShardDataset, ops

    data = ShardDataset.from_webdataset(list(paths), members={"image": "jpg", "label": "cls"})
    operation = ops.Image(ops.RandomResizedCrop(SIDE), antialias=antialias)
    loader = Loader(data.decode(image=operation), BATCH, shuffle=True, threads=threads)
    return lambda _: (len(batch["image"]) for batch in loader)


def open_function(paths: Sequence[str]) -> Epoch:
    """A user's function on the bytes of the files."""
    from shardwright import Loader, ShardDataset

    data = ShardDataset.from_webdataset(list(paths), members={"image": "jpg", "label": "cls"}, decode=None)
    loader = Loader(data.with_transform(_transform), BATCH, shuffle=True, threads=CORES)
    return lambda _: (len(batch["image"]) for batch in loader)


def _transform(sample: dict[str, Any], rng: Any) -> dict[str, Any]:
    return {"image": decode_by_opencv(sample["image"]), "label": int(sample["label"])}


def open_webdataset(paths: Sequence[str], decode: Callable[[bytes], Any]) -> Epoch:
    """The usual pipeline, with two workers."""
    import webdataset

    samples = webdataset.WebDataset(list(paths), shardshuffle=100, seed=0).shuffle(1000)
    batches = samples.map(partial(_read_sample, decode)).batched(BATCH)
    loader = webdataset.WebLoader(batches, batch_size=None, num_workers=CORES, persistent_workers=True)
    return lambda _: (len(batch[0]) for batch in loader)


def _read_sample(decode: Callable[[bytes], Any], sample: dict[str, bytes]) -> tuple[Any, int]:
    return decode(sample["jpg"]), int(sample["cls"])


def open_processes(paths: Sequence[str]) -> Epoch:
    """The limit: two processes that decode, crop and resize, and hand nothing over."""
    pool = ProcessPoolExecutor(CORES)
    shares = [list(paths)[first::CORES] for first in range(CORES)]
    return lambda _: pool.map(_decode_shards, shares)


def _decode_shards(paths: Sequence[str]) -> int:
    return sum(decode_by_opencv(content).shape[0] > 0 for content in _read_files(paths))


def _read_files(paths: Sequence[str]) -> Iterator[bytes]:
    for path in paths:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg") and (file := tar.extractfile(member)):
                    yield file.read()


def open_spdl(paths: Sequence[str]) -> Epoch:
    """Threads that run a function, in the order of the shards."""
    import spdl.pipeline

    def read(epoch: int) -> Iterator[int]:
        order = list(paths)
        random.Random(epoch).shuffle(order)
        builder = spdl.pipeline.PipelineBuilder().add_source(_read_files(order))
        piped = builder.pipe(decode_by_opencv, concurrency=CORES).aggregate(BATCH).add_sink(3)
        pipeline = piped.build(num_threads=CORES + 1)
        with pipeline.auto_stop():
            yield from map(len, pipeline.get_iterator(timeout=60))

    return read


def open_dali(paths: Sequence[str]) -> Epoch:
    """DALI's pipeline on the CPU, which decodes only what it crops."""
    from nvidia.dali import fn, pipeline_def, types

    indexes = [_write_dali_index(path) for path in paths]

    @pipeline_def(batch_size=BATCH, num_threads=CORES, device_id=None, seed=1)  # type: ignore[untyped-decorator]
    def define() -> Any:
        files, labels = fn.readers.webdataset(
            paths=list(paths),
            index_paths=indexes,
            ext=["jpg", "cls"],
            random_shuffle=True,
            initial_fill=1000,
            name="in",
        )
        images = fn.decoders.image_random_crop(files, device="cpu", output_type=types.RGB, random_area=[0.08, 1.0])
        return fn.resize(images, size=(SIDE, SIDE)), labels

    pipeline = define()
    pipeline.build()
    batches = pipeline.epoch_size("in") // BATCH
    return lambda _: (len(pipeline.run()[0].as_array()) for _ in range(batches))


def _write_dali_index(path: str) -> str:
    rows: list[tuple[str, list[str]]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if not rows or rows[-1][0] != key:
                rows.append((key, []))
            rows[-1][1].append(f"{suffix} {member.offset_data} {member.size} {member.name}")
    index = Path(path).with_suffix(".idx")
    index.write_text(f"v1.2 {len(rows)}\n" + "".join(" ".join(row) + "\n" for _, row in rows))
    return str(index)


READERS: dict[str, tuple[str, Callable[[Sequence[str]], Epoch]]] = {
    "ops.Image, threads=0": ("shardwright", partial(open_ours, threads=0)),
    "ops.Image, threads=1": ("shardwright", partial(open_ours, threads=1)),
    OURS: ("shardwright", partial(open_ours, threads=2)),
    "ops.Image, antialias=False, threads=2": ("shardwright", partial(open_ours, threads=2, antialias=False)),
    "a function in with_transform, threads=2": ("shardwright", open_function),
    "webdataset, Pillow, 2 workers": ("webdataset", partial(open_webdataset, decode=decode_by_pillow)),
    "webdataset, OpenCV, 2 workers": ("webdataset", partial(open_webdataset, decode=decode_by_opencv)),
    "spdl, 2 threads": ("spdl", open_spdl),
    "DALI on the CPU, 2 threads": ("nvidia.dali", open_dali),
    "two bare OpenCV processes": ("cv2", open_processes),
}
"""By what the page calls it: the package, and how it is opened."""


def measure(name: str, folder: Path, epochs: int) -> dict[str, float]:
    """Samples a second and CPU microseconds a sample of the best epoch; the first one, which starts processes, is not
    counted."""
    read = READERS[name][1](sorted(map(str, folder.glob("*.tar"))))
    found = [_measure_epoch(read, epoch) for epoch in range(epochs + 1)][1:]
    return {"rate": max(rate for rate, _ in found), "cpu": min(cpu for _, cpu in found)}


def _measure_epoch(read: Epoch, epoch: int) -> tuple[float, float]:
    started, cpu = time.perf_counter(), read_cpu_seconds()
    samples = sum(read(epoch))
    return samples / (time.perf_counter() - started), (read_cpu_seconds() - cpu) / samples * 1e6


def read_cpu_seconds() -> float:
    """CPU seconds of this process and those that it started, also of those that still run."""
    total = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def format_page(found: dict[str, dict[str, float]], images: int, lines: Sequence[str]) -> str:
    """The results page."""
    ours = found[OURS]
    rows = [
        f"| {name} | {each['rate']:,.0f} | {ours['rate'] / each['rate']:.2f} | {each['cpu']:,.0f} | "
        f"{each['cpu'] / ours['cpu']:.2f} |"
        for name, each in found.items()
    ]
    missing = [name for name in READERS if name not in found]
    return "\n".join(
        [
            "# Images of many sizes",
            "",
            f"{images:,} JPEG files of some 500 × 375 pixels in WebDataset tars, in random order, a random crop",
            f"resized to {SIDE} × {SIDE}, batches of {BATCH}. Ratios are of the row and `{OURS}`:",
            "above 1 that is faster, and takes less CPU time.",
            "",
            *lines,
            "",
            "| reader | samples/s | ratio | CPU µs a sample | ratio |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            *([] if not missing else ["", f"Not installed: {'; '.join(missing)}."]),
            "",
        ]
    )


def main() -> None:
    """Measure all readers in turn, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--note")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        write_outcome(measure(options.measure[0], Path(options.measure[1]), options.epochs))
        return
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        write_images(Path(folder) / "tars", options.images)
        for number in range(options.rounds):
            for name, (package, _) in READERS.items():
                if not _has_package(package):
                    continue
                arguments = ("--epochs", options.epochs, "--measure", name, f"{folder}/tars")
                each = run_apart("benchmarks.bench_images", *arguments)
                best = found.setdefault(name, each)
                found[name] = {"rate": max(best["rate"], each["rate"]), "cpu": min(best["cpu"], each["cpu"])}
                sys.stderr.write(f"{number} {name}: {each['rate']:,.0f}/s, {each['cpu']:,.0f} µs\n")
    packages = [describe_package(each) for each in ("simplejpeg", "opencv-python-headless", "pillow", "spdl-io")]
    page = format_page(found, options.images, [*describe_machine(), ", ".join(packages), *filter(None, [options.note])])
    RESULT.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


def _has_package(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    main()
