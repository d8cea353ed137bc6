"""List the formats of audio: what parses each, and what decodes it. To add one: its row here, see `media_type`.

libsndfile decodes what it reads, as it enters files anywhere; FFmpeg the rest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.formats.audio import adts, aiff, flac, mp3, mp4_audio, nist, ogg, wav
from pipeline.formats.type_names import AAC, AIFF, FLAC, M4A, MP3, NIST, OPUS, VORBIS, WAV
from pipeline.modalities.strip_file import Parser


def _keep_whole(data: bytes) -> list[bytes]:
    return [data]


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A format.

    Attributes:
        parser: its `read_header` gives `rate` in Hz, `channels`, and `frames`, samples per channel as declared.
        container: FFmpeg's name of the format where that decodes it; empty where libsndfile does.
        slack: samples that a decoder may leave out of those declared: coders add some before and after the sound, and
            not all files say how many.
        entered: whether a decoder can begin anywhere and give the same samples; else it begins at the start.
        split: returns the files that are chained in one.
    """

    parser: Parser
    container: str = ""
    slack: int = 0
    entered: bool = True
    split: Callable[[bytes], list[bytes]] = _keep_whole


FORMATS: Mapping[str, AudioFormat] = {
    WAV: AudioFormat(wav),
    FLAC: AudioFormat(flac),
    VORBIS: AudioFormat(ogg, split=ogg.split_chain),
    OPUS: AudioFormat(ogg, split=ogg.split_chain, slack=1),  # a sample is rounded away where the rate is not 48 kHz
    MP3: AudioFormat(mp3, "mp3", slack=3 * 1152, entered=False),  # libsndfile guesses the length of one without a count
    AAC: AudioFormat(adts, "aac", slack=3 * 2048, entered=False),
    M4A: AudioFormat(mp4_audio, "mov", slack=3 * 2048, entered=False),
    AIFF: AudioFormat(aiff),
    NIST: AudioFormat(nist),
}
"""By media type."""
