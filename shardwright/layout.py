"""Where the members of a sample stand in its shard: pure arithmetic, the same for every sample of a shard."""

from collections.abc import Mapping
from dataclasses import dataclass

from shardwright import tar
from shardwright.field import Field

META = "meta"


@dataclass(frozen=True)
class Layout:
    """A sample's members in order, the fields and then the meta; offsets in bytes from the sample's start.

    Attributes:
        suffixes: what follows `<key>.` in the members' names.
        heads: what the members' contents begin with: the NPY header of a field, nothing for the meta.
        sizes: of the members' contents.
        offsets: of the members' contents; the tar header stands in the 512 bytes before.
        stride: from the start of a sample to the start of the next.
    """

    suffixes: tuple[str, ...]
    heads: tuple[bytes, ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    stride: int

    def count_shard_bytes(self, samples: int) -> int:
        """The size of a shard of so many samples."""
        return samples * self.stride + len(tar.END)


def plan_layout(fields: Mapping[str, Field], meta_bytes: int) -> Layout:
    """The layout of a shard whose meta members have `meta_bytes` each."""
    heads = [field.header for field in fields.values()] + [b""]
    suffixes = [f"{name}.npy" for name in fields] + [f"{META}.json"]
    sizes = [len(field.header) + field.nbytes for field in fields.values()] + [meta_bytes]
    offsets, position = [], 0
    for size in sizes:
        offsets.append(position + tar.BLOCK)
        position += tar.BLOCK + size + tar.count_padding(size)
    return Layout(tuple(suffixes), tuple(heads), tuple(sizes), tuple(offsets), position)
