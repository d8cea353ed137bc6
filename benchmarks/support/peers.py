"""What a user would pick instead, each read as its own documentation shows: batches of torch tensors, no augmentation.

`python -m benchmarks.support.peers` finds out which of them are here and work.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.apart import write_outcome
from benchmarks.support.limits import Epoch, list_tars
from benchmarks.support.make_tensors import keep_litdata_in
from benchmarks.support.torchvision_stand_in import stand_in

BUFFERED = 1000
"""Samples in the shuffle buffers of webdataset and HF datasets: what their documentation uses."""
ARRAYS = ("image.npy", "mfcc.npy", "tokens.npy")


@dataclass(frozen=True)
class Reading:
    """How to read a set."""

    folder: Path
    batch: int
    shuffle: bool
    workers: int


@dataclass(frozen=True)
class Peer:
    """A reader: its name in the tables, its package on PyPI, the module, the format it reads; and the numbers of worker
    processes that it is measured with: without any, webdataset and HF datasets are slower on two cores."""

    name: str
    package: str
    module: str
    format: str
    open: Callable[[Reading], Epoch]
    workers: tuple[int, ...] = (2,)


def open_webdataset(reading: Reading) -> Epoch:
    import torch
    import webdataset

    def decode(sample: Mapping[str, Any]) -> Sequence[Any]:
        return *(torch.from_numpy(np.load(io.BytesIO(sample[name]))) for name in ARRAYS), int(sample["cls"])

    urls = [str(path) for path in list_tars(reading.folder)]
    data = webdataset.WebDataset(urls, shardshuffle=len(urls) if reading.shuffle else False, seed=0)
    if reading.shuffle:
        data = data.shuffle(BUFFERED)
    loader = webdataset.WebLoader(data.map(decode).batched(reading.batch), batch_size=None, num_workers=reading.workers)

    def read() -> Iterator[Any]:
        for batch in loader:
            yield batch[3]

    return read


def open_mds(reading: Reading) -> Epoch:
    stand_in()
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    data = StreamingDataset(local=str(reading.folder), shuffle=reading.shuffle, batch_size=reading.batch)
    return read_labels(DataLoader(data, batch_size=reading.batch, num_workers=reading.workers))


def open_litdata(reading: Reading) -> Epoch:
    keep_litdata_in(reading.folder.parent / "litdata-cache")
    import litdata

    data = litdata.StreamingDataset(str(reading.folder), shuffle=reading.shuffle)
    return read_labels(litdata.StreamingDataLoader(data, batch_size=reading.batch, num_workers=reading.workers))


def open_hf(reading: Reading) -> Epoch:
    """Streamed by its builder for WebDataset, and stacked by a function of our own: the default one is slower."""
    os.environ["HF_HOME"] = str(reading.folder.parent / "hf-cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    import torch
    from torch.utils.data import DataLoader

    def stack(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        arrays = {name: np.stack([np.asarray(sample[name]) for sample in samples]) for name in ARRAYS}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return tensors | {"label": torch.tensor([sample["cls"] for sample in samples])}

    files = {"train": [str(path) for path in list_tars(reading.folder)]}
    data = datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True)
    if reading.shuffle:
        data = data.shuffle(seed=0, buffer_size=BUFFERED)
    return read_labels(DataLoader(data, reading.batch, num_workers=reading.workers, collate_fn=stack))


def open_shardwright(reading: Reading) -> Epoch:
    """This project; `workers` is its number of threads."""
    from shardwright import Loader, ShardDataset

    data = ShardDataset(reading.folder, split="train")
    return read_labels(Loader(data, reading.batch, shuffle=reading.shuffle, seed=0, threads=reading.workers))


def read_labels(batches: Any) -> Epoch:
    """An epoch of a loader whose batches are dicts with the key `label`."""

    def read() -> Iterator[Any]:
        for batch in batches:
            yield batch["label"]

    return read


PEERS = {
    peer.name: peer
    for peer in (
        Peer("webdataset", "webdataset", "webdataset", "webdataset", open_webdataset),
        Peer("MosaicML Streaming", "mosaicml-streaming", "streaming", "mds", open_mds, (0, 2)),
        Peer("LitData", "litdata", "litdata", "litdata", open_litdata, (0, 2)),
        Peer("HF datasets", "datasets", "datasets", "webdataset", open_hf),
    )
}


def find_peers() -> dict[str, dict[str, str]]:
    """By name: `version` of each peer that can be imported, `missing` with the reason for the others."""
    stand_in()
    found: dict[str, dict[str, str]] = {}
    for peer in PEERS.values():
        try:
            import_module(peer.module)
            found[peer.name] = {"version": version(peer.package)}
        except Exception as error:  # a package beside the wrong release of another one fails with anything
            found[peer.name] = {"missing": f"{type(error).__name__}: {error}"}
    return found


if __name__ == "__main__":
    write_outcome(find_peers())
