"""What can go wrong, as one small tree.

ShardwrightError
├── FormatError    what was given to write, or what a file says, is not in the format (also a ValueError)
├── ExistsError    the split is there already, or another writer is at it (also a FileExistsError)
├── DamageError    bytes at rest are not those that were written
└── StateError     a loader's saved state belongs to another dataset or another order (also a ValueError)
"""


class ShardwrightError(Exception):
    """Anything that this package raises on its own account."""


class FormatError(ShardwrightError, ValueError):
    """A field, key, array, meta or manifest that the format does not allow; the message names it."""


class ExistsError(ShardwrightError, FileExistsError):
    """A split that would be written over; the message names its place."""


class StateError(ShardwrightError, ValueError):
    """A saved loader state that cannot be continued here; the message shows both values."""


class DamageError(ShardwrightError):
    """Bytes that differ from those that were written.

    `shard`, `sample` and `field` name the place as far as it is known, `offset` is in bytes from the start
    of the shard; each is None where it does not apply.
    """

    def __init__(
        self,
        message: str,
        *,
        shard: str | None = None,
        sample: str | None = None,
        field: str | None = None,
        offset: int | None = None,
    ) -> None:
        super().__init__(message)
        self.shard = shard
        self.sample = sample
        self.field = field
        self.offset = offset
