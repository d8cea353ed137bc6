"""Read the header of MP4 files with audio alone (M4A): the first audio track; the rest is as in `mp4`."""

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.video.mp4 import check_whole, read_track, strip_metadata

__all__ = ["AudioHeader", "check_whole", "read_header", "strip_metadata"]


def read_header(data: bytes) -> AudioHeader:
    """Return the header of the first audio track.

    Raises:
        FormatFault: there is none, or it lists no samples, or a box is longer than the one around it, or too short for
            what it must hold.
        Truncated: the file ends inside a box, or before the one that describes it.
    """
    track = read_track(data, b"soun", ">HHHHHH", 32)
    if track is None:
        raise FormatFault("no audio track")
    channels, _, _, _, rate, _ = track.fields
    if not track.samples or not track.scale:
        raise FormatFault("the audio track lists no samples")
    rate = rate or track.scale  # rates beyond 65,535 do not fit
    return AudioHeader(rate, channels, round(track.duration * rate / track.scale))
