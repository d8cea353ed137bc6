"""Tell animated images from still ones, without decoding a pixel."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image.gif_blocks import IMAGE, walk_blocks
from pipeline.formats.image.webp_chunks import FRAME, read_end, walk_chunks
from pipeline.formats.type_names import GIF, WEBP


def is_animated(data: bytes, media_type: str) -> bool:
    """Return whether a file is a GIF or WebP of several frames, as far as its bytes go."""
    walk = _FRAMES.get(media_type)
    if walk is None:
        return False
    try:
        return len(list(islice(walk(data), 2))) == 2
    except FormatFault:
        return False


def _walk_gif(data: bytes) -> Iterator[object]:
    return (block for block in (walk_blocks(data) if len(data) > 10 else ()) if block.kind == IMAGE)


def _walk_webp(data: bytes) -> Iterator[object]:
    return (chunk for chunk in walk_chunks(data, 12, read_end(data)) if chunk.name == FRAME)


_FRAMES: Mapping[str, Callable[[bytes], Iterator[object]]] = {GIF: _walk_gif, WEBP: _walk_webp}
