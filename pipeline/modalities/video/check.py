"""Check videos: by their header, then stripped of metadata, then all of their frames decoded.

Frames are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B.
"""

import numpy as np

from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.image.params import WHITE
from pipeline.modalities.image.pixels import Pixels, blend_to_rgb, load_opencv, resize_pixels
from pipeline.modalities.modality import Checked
from pipeline.modalities.perceptual_hash import SIDE, cap_threshold, compute_perceptual_hash
from pipeline.modalities.rules import check_rules
from pipeline.modalities.strip_file import Parser, Parsers, strip_file
from pipeline.modalities.video.formats import PARSERS
from pipeline.modalities.video.frames import DecodedFrames, open_video, read_frames, space_evenly
from pipeline.modalities.video.rules import RULES, VideoCheck
from pipeline.tables.drops import Reason, Rejection

MIN_DECODED = 0.9
"""Share of the listed frames that must be decoded: edit lists leave out some that a file has."""

_CELLS = 4  # frames in the thumbnail of the perceptual hash, two beside two
HASH_LIMITS = cap_threshold(8.0)  # of the perceptual hash, as of images


def check_video(data: bytes, media_type: str, params: VideoCheck) -> Checked | Rejection:
    """Check a video by its header, strip its metadata, then decode the frames of the stripped file, which is what is
    kept.

    The facts are width and height in pixels as stored, and the number of frames. The container's metadata is removed;
    what an encoder wrote about itself inside the streams of frames and audio stays, since no byte of them changes. The
    audio is not decoded.
    """

    def check_header(header: VideoHeader) -> Rejection | None:
        if not header.frames:
            return Rejection(Reason.UNSUPPORTED_TYPE, "it lists no frames")
        if rejection := check_rules(RULES, "header", header, params):
            return rejection
        if not header.seconds > 0:
            return Rejection(Reason.TOO_SHORT, "seconds, by the header", f"{header.seconds:g}", "0")
        return None

    file = strip_file(data, media_type, Parsers(PARSERS, _read_header), check_header)
    if isinstance(file, Rejection):
        return file
    header = file.facts
    numbers = space_evenly(_CELLS, 0, header.frames)
    try:
        seen = read_frames(open_video(file.data, media_type, header), numbers, _shrink, header.frames)
    except UndecodableError:
        return Rejection(Reason.BROKEN, "the decoder cannot read the frames")
    if seen.decoded < MIN_DECODED * header.frames:
        return Rejection(Reason.TRUNCATED, "frames decoded, of those listed", str(seen.decoded), str(header.frames))
    facts = {"width": header.width, "height": header.height, "frames": seen.decoded}
    return Checked(file.data, facts, compute_perceptual_hash(_join_cells(seen), HASH_LIMITS))


def _read_header(parser: Parser, data: bytes) -> VideoHeader:
    header: VideoHeader = parser.read_header(data)
    return header


def _shrink(pixels: Pixels) -> Pixels:
    """Grey levels over white, uint8 (8, 8)."""
    cv2 = load_opencv()
    return resize_pixels(cv2.cvtColor(blend_to_rgb(pixels, WHITE), cv2.COLOR_RGB2GRAY), (SIDE // 2, SIDE // 2))


def _join_cells(seen: DecodedFrames) -> Pixels:
    """Four thumbnails of 8 × 8 cells as one of 16 × 16, in reading order."""
    first, second, third, fourth = seen.frames
    return np.block([[first, second], [third, fourth]])
