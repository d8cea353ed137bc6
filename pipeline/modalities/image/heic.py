"""Decode HEIC images with PyAV, from bytes in memory: OpenCV reads none.

They are tiles of HEVC. Each is one frame, handed to the decoder with its settings; no container is opened.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.image import heif
from pipeline.formats.image.heif import CodedTile, Grid
from pipeline.modalities.native_stderr import silence_stderr
from pipeline.runtime.stopwatch import clock

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""FFmpeg's name for swscale's coefficients (libswscale/swscale.h, SWS_CS_*) of each matrix of ITU-T H.273."""


def decode_heic(data: bytes) -> NDArray[Any] | None:
    """Return the pixels, uint8 or for more than 8 bits uint16: (height, width, 3) BGR, or 4 BGRA; None if the decoder
    cannot read them.

    Raises:
        FormatFault: the file is not as its parser demands.
    """
    colours, alpha = heif.read_grids(data)
    with clock("decode image"), silence_stderr():
        pixels = _decode_grid(colours, "bgr24", "bgr48le")
        opacity = _decode_grid(alpha, "gray", "gray16le") if alpha and pixels is not None else None
    if pixels is None or alpha is None:
        return pixels
    if opacity is None or opacity.dtype != pixels.dtype:
        return None
    return np.dstack([pixels, opacity])


def _decode_grid(grid: Grid, narrow: str, wide: str) -> NDArray[Any] | None:
    """Return the tiles beside each other in one of two formats of FFmpeg's, by their depth."""
    canvas: NDArray[Any] | None = None
    for number, tile in enumerate(grid.tiles):
        frame = _decode_tile(tile)
        if frame is None:
            return None
        part = _convert(frame, grid, narrow if frame.format.components[0].bits <= 8 else wide)
        row, column = divmod(number, grid.columns)
        if canvas is None:
            canvas = np.zeros((grid.height, grid.width, *part.shape[2:]), part.dtype)
            step = part.shape[:2]
        room = canvas[row * step[0] : (row + 1) * step[0], column * step[1] : (column + 1) * step[1]]
        if part.shape[:2] != step or part.dtype != canvas.dtype:
            return None
        room[:] = part[: room.shape[0], : room.shape[1]]
    enough = canvas is not None and grid.columns * step[1] >= grid.width
    return canvas if enough and len(grid.tiles) // grid.columns * step[0] >= grid.height else None


def _decode_tile(tile: CodedTile) -> "VideoFrame | None":
    import av
    from av.codec import CodecContext

    try:
        decoder = CodecContext.create("hevc", "r")
        decoder.extradata = tile.settings
        decoder.thread_count = 1
        packet = av.Packet(tile.data)
        frames: Any = [*decoder.decode(packet), *decoder.decode(None)]
    except (av.FFmpegError, ValueError):
        return None
    return frames[0] if len(frames) == 1 else None


def _convert(frame: "VideoFrame", grid: Grid, form: str) -> NDArray[Any]:
    """Return a frame's pixels; the file's own word on its colours counts before that of the coded image."""
    how: dict[str, Any] = {}
    if grid.matrix in _MATRICES:
        how["src_colorspace"] = _MATRICES[grid.matrix]
    if grid.full_range is not None:
        how["src_color_range"] = 2 if grid.full_range else 1
    pixels: NDArray[Any] = frame.reformat(format=form, **how).to_ndarray()
    return pixels
