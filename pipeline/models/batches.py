"""Batches of a split, by either of two readers: this project's own, or stock webdataset over the same shards.

A batch is a dict: for each field of the dataset a tensor (batch, *shape) of the field's dtype, `key` a list of str,
and `valid` bool (batch,), True for every sample here. In reading order both readers give the same batches.
"""

import io
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import InputError
from pipeline.tables.contracts import SPLITS
from shardwright import Field, Loader, ShardDataset, read_manifest
from shardwright.errors import ShardwrightError
from shardwright.format.jpeg import decode_jpeg

Batch = dict[str, Any]

SHUFFLE_BUFFER = 1000
"""Samples that webdataset draws the next one from, the number that its documentation uses."""


@dataclass(frozen=True)
class ReadOrder:
    """How a pass over a split goes: `batch_size` samples at a time, in stored order or shuffled anew for each
    (seed, epoch)."""

    batch_size: int
    shuffle: bool = False
    seed: int = 0
    epoch: int = 0


def open_split(root: Path, split: str) -> ShardDataset | None:
    """The split of the dataset in `root`, or None where it has no samples.

    Raises:
        InputError: there is no dataset, or it is damaged.
    """
    try:
        data = ShardDataset(root, split)
    except KeyError:
        return None
    except FileNotFoundError:
        raise InputError(f"{root} has no dataset: run the stages before (`dvc repro`)") from None
    except ShardwrightError as error:
        raise InputError(f"{error}: remove it and run `dvc repro` again") from error
    if len(data) == 0:
        data.close()
        return None
    return data


def check_splits(root: Path) -> None:
    """Hold that no sample is in two splits: else the model is asked for what it learned by heart.

    Raises:
        InputError: a key is in two splits, and the message names it and them; or a split is damaged.
    """
    seen: dict[str, Any] = {}
    for split in SPLITS:
        data = open_split(root, split)
        if data is not None:
            with data:
                seen[split] = data.keys[:]
    for one, other in itertools.combinations(seen, 2):
        shared = np.intersect1d(seen[one], seen[other])
        if len(shared):
            key = shared[0].decode()
            raise InputError(f"{root}: sample {key!r} is in the splits {one} and {other}; none may be in two")


def read_dataset_hash(root: Path) -> str:
    """The name of the dataset in `root` by its content.

    Raises:
        InputError: there is no dataset, or its manifest is damaged.
    """
    try:
        return read_manifest(root).hash
    except FileNotFoundError:
        raise InputError(f"{root} has no dataset: run the stages before (`dvc repro`)") from None
    except ShardwrightError as error:
        raise InputError(f"{error}: remove it and run `dvc repro` again") from error


def read_batches(reader: str, data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Every sample of the split once, in batches; the last one holds what is left.

    Raises:
        InputError: a shard is damaged; the message names it.
    """
    try:
        yield from READERS[reader](data, order)
    except ShardwrightError as error:
        raise InputError(f"{error}: remove it and run `dvc repro` again") from error


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    return {name: part.to(device) if isinstance(part, torch.Tensor) else part for name, part in batch.items()}


def _read_by_shardwright(data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Shuffled over the whole split."""
    loader = Loader(data, order.batch_size, shuffle=order.shuffle, seed=order.seed)
    loader.set_epoch(order.epoch)
    yield from loader


def _read_by_webdataset(data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Shuffled as streams are: the shards among themselves, then samples within a buffer.

    webdataset reads a shard that was cut between two samples as a shorter one, so samples are counted.
    """
    from webdataset.filters import shuffle
    from webdataset.tariterators import group_by_keys, tar_file_expander

    shards = [data.root / data.split / shard.name for shard in data.manifest.splits[data.split].shards]
    rng = random.Random(f"{order.seed} {order.epoch}")
    if order.shuffle:
        rng.shuffle(shards)
    samples = group_by_keys(tar_file_expander(_open_files(shards)))
    if order.shuffle:
        samples = shuffle(SHUFFLE_BUFFER, rng=rng)(samples)
    count, waiting = 0, []
    for sample in samples:
        waiting.append(sample)
        count += 1
        if len(waiting) == order.batch_size:
            yield _collate(waiting, data.fields)
            waiting = []
    if waiting:
        yield _collate(waiting, data.fields)
    if count != len(data):
        raise InputError(f"{data.root / data.split}: webdataset found {count} samples, the manifest has {len(data)}")


def _open_files(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """What webdataset's own opener gives; that one reads the environment and leaves files open."""
    for path in paths:
        with path.open("rb") as file:
            yield {"url": str(path), "stream": file}


def _collate(samples: Sequence[Mapping[str, Any]], fields: Mapping[str, Field]) -> Batch:
    """A batch of the members as they stand in the shards; webdataset's own decoder would unpickle what says so."""
    batch: Batch = {"key": [sample["__key__"] for sample in samples]}
    for name, field in fields.items():
        arrays = [_decode_member(sample[f"{name}.{field.suffix}"], field) for sample in samples]
        batch[name] = torch.from_numpy(np.stack(arrays))
    batch["valid"] = torch.ones(len(samples), dtype=torch.bool)
    return batch


def _decode_member(content: bytes, field: Field) -> Any:
    if field.varies:
        return decode_jpeg(np.frombuffer(content, np.uint8), field.shape)
    return np.load(io.BytesIO(content), allow_pickle=False)


READERS: Mapping[str, Callable[[ShardDataset, ReadOrder], Iterator[Batch]]] = {
    "shardwright": _read_by_shardwright,
    "webdataset": _read_by_webdataset,
}
"""By the names that `train.reader` takes."""
