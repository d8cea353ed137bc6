"""Limit what WebDataset shards of unknown origin may demand of their reader."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the content of WebDataset shards. Each default is far above what writers of datasets produce.

    Attributes:
        members: members of a shard.
        member_bytes: size of a member.
        extension_bytes: size of a PAX header or long name that precedes a member.
        name_bytes: length of a member's name; 4096 is the longest path of Linux.
        suffixes: different suffixes in a set: each takes 20 bytes a sample in the index. Keys that contain a dot give
            many suffixes.
        pixels: of an image, checked before decoding; three bytes each.
        audio_values: frames × channels of an audio file, checked before decoding; four bytes each.
        array_bytes: of all arrays of an NPZ file together, with their headers, checked before decoding.
        decompressed_bytes: of a compressed shard, checked while it is decompressed.
    """

    members: int = 20_000_000
    member_bytes: int = 1 << 32
    extension_bytes: int = 1 << 20
    name_bytes: int = 4096
    suffixes: int = 64
    pixels: int = 100_000_000
    audio_values: int = 1 << 27
    array_bytes: int = 1 << 30
    decompressed_bytes: int = 1 << 35


DEFAULT_LIMITS = Limits()
