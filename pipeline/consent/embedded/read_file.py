"""Read all that a file's own metadata says of its use. Pure."""

from collections.abc import Iterator

from pipeline.consent.embedded.c2pa import read_c2pa
from pipeline.consent.embedded.containers import DIVIDED, join_metadata
from pipeline.consent.embedded.xmp import read_xmp
from pipeline.consent.statements import Statement


def read_file_statements(data: bytes, media_type: str) -> Iterator[Statement]:
    """Yield what the metadata of an image, audio or video refuses. Texts may quote such metadata, but have none."""
    if media_type.startswith("text/"):
        return
    joined = list(join_metadata(data, media_type))
    for part in (data, *joined):
        yield from read_xmp(part)
    for part in joined if joined and media_type in DIVIDED else (data, *joined):
        yield from read_c2pa(part)
