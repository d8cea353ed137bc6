"""List the objects of a bucket, without reading any: their versions tell whether one has changed."""

import os
from typing import TYPE_CHECKING, Any

from pipeline.formats.tar_entries import find_member_fault
from pipeline.inputs.bucket import Bucket, Object
from pipeline.inputs.ignored_names import IgnoredNames
from pipeline.inputs.kinds import FOLDER, find_kind
from pipeline.inputs.params import InputParams, SourceParams
from pipeline.inputs.read_file import MAX_FILE_BYTES, reject_size
from pipeline.list.walk_folder import ACCEPTED, build_found, describe_ignored, describe_refusal
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa


def list_objects(bucket: Bucket, source: SourceParams, params: InputParams) -> "pa.Table":
    """Return the objects as a table `FOUND`; of a folder also those that are refused, and what is ignored.

    Raises:
        InputError: see `Bucket.list_objects`.
    """
    ignored = IgnoredNames(params.ignore if source.kind == FOLDER else ())
    rows = [
        _describe(found, source)
        for found in bucket.list_objects()
        if not any(map(ignored.match, found.name.split("/")))
    ]
    return build_found([*rows, *map(describe_ignored, ignored.list_counts())])


def _describe(found: Object, source: SourceParams) -> tuple[Any, ...]:
    name = os.fsencode(found.name)
    file = escape_name(name)
    if find_member_fault(name) is not None:
        detail = "a name that is absolute, leads out of the folder or is too long"
        return describe_refusal(file, Rejection(Reason.NOT_A_FILE, detail))
    kind = find_kind(file) if source.kind == FOLDER else source.kind
    if kind == FOLDER and found.size > MAX_FILE_BYTES:
        return describe_refusal(file, reject_size(found.size))
    return (kind, file, found.size, None, None, None, None, found.version, *ACCEPTED)
