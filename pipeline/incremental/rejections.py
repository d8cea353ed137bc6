"""Encode a rejection as the bytes of a cache entry."""

from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.tables.drops import Reason, Rejection
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical


def encode_rejection(key: bytes, rejection: Rejection) -> Entry:
    """Return the entry of an item that was rejected."""
    verdict = [str(rejection.reason), rejection.detail, rejection.value, rejection.limit, rejection.setting]
    return Entry(key, [encode_canonical(verdict)], rejected=True)


def decode_rejection(entry: Entry) -> Rejection:
    """Return the rejection that such an entry holds.

    Raises:
        DamagedError: it holds none that this version can read.
    """
    try:
        reason, detail, value, limit, setting = decode_json(entry.pieces[0])
        return Rejection(Reason(reason), detail, value, limit, setting)
    except (FormatError, ValueError, TypeError) as error:
        raise DamagedError from error
