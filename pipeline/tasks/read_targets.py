"""Read one field of all samples of a split: what a task learns must be known before it plans."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from shardwright import ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.errors import ShardwrightError

CHUNK = 1 << 14
"""Samples read at once."""


def read_targets(data: ShardDataset, field: str, rows: NDArray[np.int64] | None = None) -> NDArray[Any]:
    """Return a field of every sample, or of those in `rows`, (samples, *shape).

    Raises:
        InputError: a shard is damaged; the message names it.
    """
    context = ReadContext(fields=(field,))
    chunks = [np.empty((0, *data.fields[field].shape), data.fields[field].dtype)]
    chosen = np.arange(len(data)) if rows is None else rows
    try:
        for start in range(0, len(chosen), CHUNK):
            chunks.append(data.gather(chosen[start : start + CHUNK], context)[field])
    except ShardwrightError as error:
        raise InputError(f"{error}: remove it and run `dvc repro` again") from error
    return np.concatenate(chunks)
