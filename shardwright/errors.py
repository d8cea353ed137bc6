"""Define the errors of this package.

ShardwrightError
├── FormatError    a value to write, or the content of a file, is not in the format (also a ValueError)
├── ExistsError    the split exists, or another writer is writing it (also a FileExistsError)
├── DamageError    stored bytes differ from those that were written
└── StateError     a loader's saved state belongs to another dataset or another order (also a ValueError)
"""


class ShardwrightError(Exception):
    """The base class of all errors that this package defines."""


class FormatError(ShardwrightError, ValueError):
    """A field, key, array, meta or manifest is not allowed by the format; the message names it."""


class ExistsError(ShardwrightError, FileExistsError):
    """A split would be overwritten; the message has its path."""


class StateError(ShardwrightError, ValueError):
    """A saved loader state does not fit this loader; the message shows both values."""


class DamageError(ShardwrightError):
    """Stored bytes differ from those that were written.

    Attributes:
        shard: the file's name, or None.
        sample: the sample's key, or None.
        field: the field's name, or None.
        offset: of the damage, in bytes from the start of the shard, or None.
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
