"""Give samples to PyTorch's own `DataLoader`, with random numbers that differ from epoch to epoch."""

import operator
from collections.abc import Iterable
from typing import Any, SupportsIndex

from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import ReadContext, resolve_rows


class MapStyle:
    """A map-style dataset of a source whose transforms draw new numbers after `set_epoch`.

    A source itself is a map-style dataset too, but knows no epoch: its transforms draw the same numbers each time. The
    epoch is kept in shared memory, so that worker processes see it, forked or spawned, also persistent ones. Needs
    PyTorch.

    `set_epoch` is to be called before each epoch, as with PyTorch's `DistributedSampler`. Accelerate does so, but not
    with several processes and `use_seedable_sampler`, which is how the Trainer of Transformers shuffles: call it in a
    callback there. A sample's random numbers are then those that `Loader` gives it in that epoch.

    Args:
        data: the source.
        seed: of the random generators of transforms, as for `Loader`.
    """

    def __init__(self, data: SampleSource, seed: int = 0) -> None:
        import torch

        self.data = data
        self.seed = seed
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch that samples are read for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let transforms draw the numbers of this epoch, in this process and in workers.

        Raises:
            ValueError: the epoch is negative.
        """
        if operator.index(epoch) < 0:
            raise ValueError(f"epoch is {epoch}; it must be at least 0")
        self._epoch[0] = operator.index(epoch)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.__getitem__`."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Iterable[SupportsIndex]) -> list[dict[str, Any]]:
        """See `SampleSource.__getitems__`."""
        positions = resolve_rows([operator.index(index) for index in indices], len(self), self.data.split)
        context = ReadContext(seed=self.seed, epoch=self.epoch)
        return self.data.read_samples(self.data.list_rows(positions), context)
