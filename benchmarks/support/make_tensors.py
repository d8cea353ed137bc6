"""The same samples in the format of each reader: an image, MFCC, tokens and a label, all of random values.

`python -m benchmarks.support.make_tensors FORMAT SIZE FOLDER --samples N` writes one set; `benchmarks.bench_loader`
calls it.
"""

import argparse
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.apart import write_outcome
from benchmarks.support.torchvision_stand_in import stand_in
from shardwright import Field, ShardWriter

CLASSES = 10
SAMPLES_PER_SHARD = 500
FEWEST_SHARDS = 4
"""Of small sets: webdataset needs one a worker."""
CHUNK_BYTES = 1 << 26
"""Of MosaicML Streaming, whose default this is, and of LitData, which wants to be told."""


@dataclass(frozen=True)
class Size:
    """Shapes of a set: image uint8 (side, side, 3), mfcc float32 (coefficients, frames), tokens int32 (tokens,)."""

    side: int
    coefficients: int
    frames: int
    tokens: int

    @property
    def nbytes(self) -> int:
        """Bytes of a sample's arrays, the label of 8 bytes included."""
        return self.side**2 * 3 + 4 * self.coefficients * self.frames + 4 * self.tokens + 8


SIZES = {"large": Size(224, 40, 100, 64), "small": Size(32, 40, 64, 32)}


def make_sample(size: Size, number: int) -> dict[str, Any]:
    """The sample of that number: the same wherever it is made. `label`, an int, is the number modulo 10."""
    rng = np.random.default_rng(number)
    return {
        "image": rng.integers(0, 256, (size.side, size.side, 3), np.uint8),
        "mfcc": rng.standard_normal((size.coefficients, size.frames), np.float32),
        "tokens": rng.integers(0, 5000, size.tokens, np.int32),
        "label": number % CLASSES,
    }


def sum_labels(samples: int) -> int:
    """Of the samples 0 … samples-1: a reader that gives another sum has not delivered each sample once."""
    whole, rest = divmod(samples, CLASSES)
    return whole * sum(range(CLASSES)) + sum(range(rest))


def cut_shards(samples: int) -> int:
    """Samples a shard."""
    return max(1, min(SAMPLES_PER_SHARD, samples // FEWEST_SHARDS))


def write_shardwright(folder: Path, size: Size, samples: int) -> None:
    fields = {
        "image": Field("uint8", (size.side, size.side, 3), axes="HWC"),
        "mfcc": Field("float32", (size.coefficients, size.frames), axes="CT"),
        "tokens": Field("int32", (size.tokens,), axes="T"),
        "label": Field("int64", ()),
    }
    with ShardWriter(folder, "train", fields, cut_shards(samples)) as writer:
        for number in range(samples):
            writer.write(f"{number:09d}", make_sample(size, number))


def write_webdataset(folder: Path, size: Size, samples: int) -> None:
    """Tars as its users write them: three `.npy` and the label as text. HF datasets reads the same files."""
    import webdataset

    folder.mkdir(parents=True)
    pattern = f"{folder}/shard-%06d.tar"
    with webdataset.ShardWriter(pattern, maxcount=cut_shards(samples), verbose=0) as writer:
        for number in range(samples):
            sample = make_sample(size, number)
            label = str(sample.pop("label")).encode()
            arrays = {f"{name}.npy": encode_npy(array) for name, array in sample.items()}
            writer.write({"__key__": f"{number:09d}", **arrays, "cls": label})


def write_mds(folder: Path, size: Size, samples: int) -> None:
    stand_in()
    import streaming

    columns = {
        "image": f"ndarray:uint8:{size.side},{size.side},3",
        "mfcc": f"ndarray:float32:{size.coefficients},{size.frames}",
        "tokens": f"ndarray:int32:{size.tokens}",
        "label": "int",
    }
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=CHUNK_BYTES) as writer:
        for number in range(samples):
            writer.write(make_sample(size, number))


def write_litdata(folder: Path, size: Size, samples: int) -> None:
    keep_litdata_in(folder.parent / "litdata-cache")
    import litdata

    litdata.optimize(
        fn=partial(make_sample, size),
        inputs=list(range(samples)),
        output_dir=str(folder),
        chunk_bytes=CHUNK_BYTES,
        num_workers=2,
        verbose=False,
    )


def keep_litdata_in(folder: Path) -> None:
    """LitData empties its cache folders when it runs: they are set to one of ours before it is imported."""
    os.environ["DATA_OPTIMIZER_CACHE_FOLDER"] = str(folder / "chunks")
    os.environ["DATA_OPTIMIZER_DATA_CACHE_FOLDER"] = str(folder / "data")


def encode_npy(array: NDArray[Any]) -> bytes:
    """The array as a file of NumPy's own format."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FORMATS: Mapping[str, Callable[[Path, Size, int], None]] = {
    "shardwright": write_shardwright,
    "webdataset": write_webdataset,
    "mds": write_mds,
    "litdata": write_litdata,
}


def main() -> None:
    """Write one set; the folder must not be there."""
    parser = argparse.ArgumentParser(description="Writes one set of samples in one format.")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, required=True)
    options = parser.parse_args()
    FORMATS[options.format](options.folder, SIZES[options.size], options.samples)
    write_outcome({"samples": options.samples})


if __name__ == "__main__":
    main()
