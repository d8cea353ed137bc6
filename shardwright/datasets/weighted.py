"""Draw samples with replacement, by a weight for each."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext
from shardwright.datasets.splitmix64 import GOLDEN, mix, to_uniform
from shardwright.datasets.subset import check_ascending
from shardwright.datasets.views import View
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical


class Weighted(View):
    """A source whose epochs are drawn with replacement. See `SampleSource.weighted`."""

    def __init__(self, base: SampleSource, weights: ArrayLike, samples: int | None = None) -> None:
        super().__init__(base)
        self._weights = np.array(weights, np.float64)
        self._samples = samples  # as given: a view with fewer rows computes its own default
        rows = base.count_rows()
        if self._weights.shape != (rows,):
            raise ValueError(f"weights has the shape {self._weights.shape}; it must be ({rows},), one for each sample")
        wrong = np.flatnonzero(~np.isfinite(self._weights) | (self._weights < 0))
        if len(wrong):
            raise ValueError(f"weights[{wrong[0]}] is {self._weights[wrong[0]]}; it must be finite and at least 0")
        if not self._weights.any():
            raise ValueError("all weights are 0, so no sample can be drawn; give at least one of them a weight")
        if samples is not None and samples < 1:
            raise ValueError(f"samples is {samples}; it must be at least 1")
        ends = np.cumsum(self._weights)
        self._ends = ends / ends[-1]

    @property
    def hash(self) -> str:
        """The hash of the base's hash, the weights and the samples of an epoch."""
        digest = hashlib.sha256(self._weights.astype("<f8").tobytes()).hexdigest()
        return hash_canonical({"weights": digest, "samples": len(self), "of": self._base.hash})

    def __len__(self) -> int:
        return len(self._weights) if self._samples is None else self._samples

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the row that is drawn at each position: a pure function of the arguments and the weights."""
        draws = draw_uniform(positions, seed, epoch)
        rows: NDArray[np.int64] = np.searchsorted(self._ends, draws, side="right").astype(np.int64)
        return rows

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Raise: see `SampleSource.weighted`.

        Raises:
            FormatError: always.
        """
        raise FormatError(
            f"{self!r} has only a drawn order; read it with Loader(data, shuffle=True), or single rows with "
            "data.gather(rows)"
        )

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Raise: the samples of an epoch come from everywhere.

        Raises:
            FormatError: always.
        """
        raise FormatError(f"{self!r} cannot be read block by block; use shuffle=True")

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`; the weights of the samples are kept, and `samples` if it was given."""
        numbers = check_ascending(rows, self._base)
        return Weighted(self._base.take(numbers), self._weights[numbers], self._samples)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`."""
        return self._base.gather(indices, context)

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`."""
        return self._base.read_samples(indices, context)

    def __repr__(self) -> str:
        return f"{len(self)} samples an epoch, drawn by weight, of {self._base!r}"

    def _rebase(self, base: SampleSource) -> SampleSource:
        return Weighted(base, self._weights, self._samples)


def draw_uniform(positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.float64]:
    """Return a random number in [0, 1) for each position: number `position` of a SplitMix64 stream of this epoch."""
    key = hashlib.blake2b(f"weighted {seed} {epoch}".encode(), digest_size=8).digest()
    first = np.frombuffer(key, "<u8").astype(np.uint64)
    return to_uniform(mix((positions.astype(np.uint64) + np.uint64(1)) * GOLDEN + first))
