"""Name the kinds of sources, and the endings by which files of a folder are known to be archives."""

from collections.abc import Mapping

FOLDER = "folder"

ENDINGS: Mapping[str, tuple[str, ...]] = {
    FOLDER: (),
    "zip": (".zip",),
    "parquet": (".parquet", ".arrow", ".feather"),
    "rows": (),
    "webdataset": (),
    "warc": (".warc", ".warc.gz"),
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
}
"""By kind, the endings of its files' names, in lower case."""

_KINDS = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
_ALL = tuple(_KINDS)


def find_kind(file: str) -> str:
    """Return the kind of a file by the ending of its name; `folder` for one that is no archive."""
    name = file.lower()
    if not name.endswith(_ALL):
        return FOLDER
    return next(kind for ending, kind in _KINDS.items() if name.endswith(ending))
