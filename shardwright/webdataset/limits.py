"""Bounds on what shards of others may make their reader do."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What foreign shards may ask of their reader. Each default is far above what writers of datasets make.

    Attributes:
        members: in a shard.
        member_bytes: of a member.
        extension_bytes: of a PAX header or a long name that stands before a member.
        name_bytes: of a member's name; 4096 is the longest path of Linux.
        suffixes: different ones in a set: each takes 20 bytes a sample of the index. Keys with a dot in them make many.
        pixels: of a picture, before it is decoded; three bytes each.
        audio_values: frames times channels of a sound, before it is decoded; four bytes each.
    """

    members: int = 20_000_000
    member_bytes: int = 1 << 32
    extension_bytes: int = 1 << 20
    name_bytes: int = 4096
    suffixes: int = 64
    pixels: int = 100_000_000
    audio_values: int = 1 << 27


DEFAULT_LIMITS = Limits()
