"""Read a split of a dataset in batches, with this project's loader or with stock webdataset.

A batch is a dict: for each field of the dataset a tensor (batch, *shape) of the field's dtype, `key` a list of str,
and `valid` bool (batch,), here always True. In stored order both readers give the same batches.
"""

import hashlib
import io
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.models.readers import READERS
from pipeline.tables.contracts import SPLITS
from shardwright import Field, Loader, ShardDataset, ShardRecord, read_manifest
from shardwright.errors import DamageError, ShardwrightError
from shardwright.format.jpeg import decode_jpeg
from shardwright.format.npy import encode_npy_header

Batch = dict[str, Any]

SHUFFLE_BUFFER = 1000
"""Samples from which webdataset chooses the next one; the number that its documentation uses."""


CHUNK = 1 << 16
"""Keys that are read and hashed at once."""


@dataclass(frozen=True)
class ReadOrder:
    """How to pass over a split: `batch_size` samples at a time, in stored order or shuffled by (seed, epoch), without
    the first `start` batches; and, of every batch, the share of process `rank` of `processes`, which our loader alone
    can give."""

    batch_size: int
    shuffle: bool = False
    seed: int = 0
    epoch: int = 0
    start: int = 0
    rank: int = 0
    processes: int = 1


def open_split(root: Path, split: str) -> ShardDataset | None:
    """Open a split of the dataset in `root`; None where it has no samples.

    Raises:
        InputError: there is no dataset, or it is damaged.
    """
    try:
        data = ShardDataset(root, split)
    except KeyError:
        return None
    except FileNotFoundError:
        raise InputError(f"{root} has no dataset: run `dvc repro`, which makes it") from None
    except ShardwrightError as error:
        raise _explain_damage(error) from error
    if len(data) == 0:
        data.close()
        return None
    return data


def check_splits(root: Path) -> None:
    """Check that no sample is in two splits: the model would be measured on what it was trained on.

    Raises:
        InputError: a key is in two splits, and the message names it and them; or a split is damaged.
    """
    seen: dict[str, SplitKeys] = {}
    for split in SPLITS:
        data = open_split(root, split)
        if data is not None:
            with data:
                seen[split] = SplitKeys(data.keys, np.sort(hash_keys(data.keys)))
    for one, other in itertools.combinations(seen, 2):
        shared = find_shared_keys(seen[one], seen[other])
        if len(shared):
            key = shared[0].decode()
            raise InputError(
                f"{root}: the sample {key!r} is in the splits {one} and {other}; it must be in one: "
                "remove the folder and run `dvc repro`"
            )


@dataclass(frozen=True)
class SplitKeys:
    """The keys of a split, S64 (samples,), on disk, and their hashes, uint64 (samples,), sorted: of a key in memory 8
    bytes instead of 64."""

    keys: NDArray[np.bytes_]
    hashes: NDArray[np.uint64]


def hash_keys(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Return a hash of each key, S64 (samples,), uint64 (samples,): the words of the key multiplied into it in turn, as
    FNV-1a does with bytes."""
    hashes = np.full(len(keys), 0xCBF29CE484222325, np.uint64)
    for start in range(0, len(keys), CHUNK):
        chunk = hashes[start : start + CHUNK]
        words = np.ascontiguousarray(keys[start : start + CHUNK]).view(np.uint64).reshape(len(chunk), -1)
        for column in words.T:
            chunk ^= column
            chunk *= np.uint64(0x9E3779B97F4A7C15)
            chunk ^= chunk >> np.uint64(32)  # a product carries nothing from high bits to low ones
    return hashes


def find_shared_keys(one: SplitKeys, other: SplitKeys) -> NDArray[np.bytes_]:
    """Return the keys that are in both splits, sorted. Keys are compared where hashes agree."""
    shared = [np.empty(0, np.uint64)]
    for start in range(0, len(one.hashes), CHUNK):
        chunk = one.hashes[start : start + CHUNK]
        at = np.searchsorted(other.hashes, chunk)
        shared.append(chunk[other.hashes[np.minimum(at, len(other.hashes) - 1)] == chunk])
    agreeing = np.concatenate(shared)
    if len(agreeing) == 0:
        return one.keys[:0]
    candidates = [split.keys[np.isin(hash_keys(split.keys), agreeing)] for split in (one, other)]
    return np.intersect1d(candidates[0], candidates[1])


def read_dataset_hash(root: Path) -> str:
    """Return the hash that names the dataset in `root` by its content.

    Raises:
        InputError: there is no dataset, or its manifest is damaged.
    """
    try:
        return read_manifest(root).hash
    except FileNotFoundError:
        raise InputError(f"{root} has no dataset: run `dvc repro`, which makes it") from None
    except ShardwrightError as error:
        raise _explain_damage(error) from error


def _explain_damage(error: ShardwrightError) -> InputError:
    return InputError(f"{error}: remove it and run `dvc repro` again")


def read_batches(reader: str, data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Read every sample of the split once, in batches; the last one may be smaller.

    The batches before `order.start` are left out: our loader goes there at once, other readers read past them.

    Raises:
        InputError: a shard is damaged; the message names it.
    """
    try:
        if READERS[reader] is read_with_shardwright:
            yield from read_with_shardwright(data, order)
        else:
            yield from itertools.islice(READERS[reader](data, order), order.start, None)
    except ShardwrightError as error:
        raise _explain_damage(error) from error


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with its tensors on `device`."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def drop_padding(batch: Batch) -> Batch:
    """Return a batch without the samples that are not `valid`: they are repeated so that all processes have as many
    batches. Where none is valid the first one stays, as models take no empty batch."""
    valid = batch["valid"]
    if bool(valid.all()):
        return batch
    kept = valid if bool(valid.any()) else torch.arange(len(valid)) == 0
    keys = [key for key, there in zip(batch["key"], kept.tolist(), strict=True) if there]
    return {name: keys if name == "key" else values[kept] for name, values in batch.items()}


def read_with_shardwright(data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Read with `shardwright.Loader`, which shuffles the whole split."""
    share = order.batch_size // order.processes
    loader = Loader(data, share, shuffle=order.shuffle, seed=order.seed, rank=order.rank, world_size=order.processes)
    loader.load_state_dict({**loader.state_dict(), "epoch": order.epoch, "position": order.start})
    loader.set_epoch(order.epoch)  # so that a position at its end gives no batches, not those of the next epoch
    yield from loader


def read_with_webdataset(data: ShardDataset, order: ReadOrder) -> Iterator[Batch]:
    """Read with webdataset, which shuffles as streams do: the shards, then samples within a buffer.

    webdataset knows no checksums, and reads a shard that was cut between two samples as a shorter one without an error:
    so each shard is compared with the sha256 in the manifest before it is read.
    """
    from webdataset.filters import shuffle
    from webdataset.tariterators import group_by_keys, tar_file_expander

    shards = list(data.manifest.splits[data.split].shards)
    rng = random.Random(f"{order.seed} {order.epoch}")
    if order.shuffle:
        rng.shuffle(shards)
    samples = group_by_keys(tar_file_expander(_open_shards(data.root / data.split, shards)))
    if order.shuffle:
        samples = shuffle(SHUFFLE_BUFFER, rng=rng)(samples)
    pending = []
    for sample in samples:
        pending.append(sample)
        if len(pending) == order.batch_size:
            yield _collate(pending, data.fields)
            pending = []
    if pending:
        yield _collate(pending, data.fields)


def _open_shards(folder: Path, shards: Sequence[ShardRecord]) -> Iterator[dict[str, Any]]:
    """Yield open shards as webdataset's own opener does; that one reads the environment and leaves files open.

    Raises:
        DamageError: a shard's bytes are not those that were written.
    """
    for shard in shards:
        path = folder / shard.name
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                raise DamageError(f"{path} is damaged, its sha256 is not the one in the manifest", shard=shard.name)
            file.seek(0)
            yield {"url": str(path), "stream": file}


def _collate(samples: Sequence[Mapping[str, Any]], fields: Mapping[str, Field]) -> Batch:
    """Decode and stack the members of samples.

    Not with webdataset's own decoder: it unpickles members that are named `.pkl`, `.pickle` or `.pyd`.
    """
    batch: Batch = {"key": [sample["__key__"] for sample in samples]}
    for name, field in fields.items():
        members = [sample[f"{name}.{field.suffix}"] for sample in samples]
        batch[name] = torch.from_numpy(np.stack(_decode_members(members, field)))
    batch["valid"] = torch.ones(len(samples), dtype=torch.bool)
    return batch


def _decode_members(members: Sequence[bytes], field: Field) -> list[Any]:
    """Return the arrays of members. Those whose header is the field's are views: `np.load` parses each header, which
    takes as long as all else of reading."""
    if field.varies:
        return [decode_jpeg(np.frombuffer(member, np.uint8), field.shape) for member in members]
    header, dtype = encode_npy_header(field.dtype, field.shape), np.dtype(field.dtype)
    return [
        np.frombuffer(member, dtype, offset=len(header)).reshape(field.shape)
        if member.startswith(header)
        else np.load(io.BytesIO(member), allow_pickle=False)
        for member in members
    ]
