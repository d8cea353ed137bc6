"""Define values of varying length as one array: all of them one after another, and where each begins."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class RaggedArray:
    """The values of a batch whose samples have different lengths. `Loader` delivers both parts as tensors.

    Attributes:
        values: (total, *shape), the values of all samples in order.
        offsets: int64 (batch+1,); sample n has `values[offsets[n]:offsets[n + 1]]`. As int32 they are the `cu_seqlens`
            of attention kernels for sequences of varying length.
    """

    values: Any
    offsets: Any

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Any:
        """Return the values of one sample, a view (length, *shape)."""
        number = range(len(self))[row]
        return self.values[int(self.offsets[number]) : int(self.offsets[number + 1])]

    @property
    def lengths(self) -> Any:
        """The length of each sample: int64 (batch,)."""
        return self.offsets[1:] - self.offsets[:-1]

    def map(self, function: Callable[[Any], Any]) -> "RaggedArray":
        """Return the same with each part replaced by the function's result, such as a copy on another device."""
        return RaggedArray(function(self.values), function(self.offsets))
