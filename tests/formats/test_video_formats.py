"""Parsers of video containers: exact on real files, metadata removed without moving a byte, safe on any bytes."""

import io
import struct
import time
from contextlib import suppress

import av
import pytest
from av.audio.stream import AudioStream
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.media_type import find_media_type
from pipeline.formats.video import avi, matroska, mp4
from pipeline.formats.video.header import NO_VIDEO
from pipeline.modalities.image.pixels import load_opencv
from pipeline.modalities.video.formats import PARSERS
from tests.support.factory_media import SECRET, make_tone
from tests.support.factory_video import CODECS, HEIGHT, WIDTH, draw_frames, encode_video, make_dirty_videos

DIRTY = make_dirty_videos()
TYPES = list(CODECS)

changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans()), max_size=6)


def mutate(data: bytes, edits: list[tuple[float, int, bool]]) -> bytes:
    """Bytes replaced or taken out, most of them near the beginning, where the headers are."""
    mutated = bytearray(data)
    for where, value, cut in edits:
        at = int(where**3 * len(mutated))
        mutated[at : at + 1] = b"" if cut else bytes([value])
    return bytes(mutated)


def decode(data: bytes) -> tuple[list[bytes], bytes]:
    """All images, and all of the audio."""
    cv2 = load_opencv()
    capture = cv2.VideoCapture(io.BytesIO(data), cv2.CAP_FFMPEG, [])
    images = []
    while (found := capture.read())[0]:
        images.append(found[1].tobytes())
    with av.open(io.BytesIO(data), "r") as file:
        audio = b"".join(frame.to_ndarray().tobytes() for frame in file.decode(audio=0))
    return images, audio


def decode_images(data: bytes) -> list[bytes]:
    with av.open(io.BytesIO(data), "r") as file:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in file.decode(video=0)]


@pytest.mark.parametrize("media_type", TYPES)
def test_types_are_found_from_bytes(media_type: str) -> None:
    assert find_media_type(DIRTY[media_type]) == media_type


@pytest.mark.parametrize("media_type", TYPES)
def test_headers_say_what_there_is(media_type: str) -> None:
    header = PARSERS[media_type].read_header(DIRTY[media_type])
    assert (header.width, header.height, header.frames) == (WIDTH, HEIGHT, 8)
    assert header.seconds == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("media_type", TYPES)
def test_stripping_takes_the_words_and_moves_nothing(media_type: str) -> None:
    parser, dirty = PARSERS[media_type], DIRTY[media_type]
    clean = parser.strip_metadata(dirty)
    assert SECRET in dirty
    assert SECRET[:8] not in clean
    assert len(clean) == len(dirty)
    assert parser.read_header(clean) == parser.read_header(dirty)
    assert decode(clean) == decode(dirty)
    assert parser.strip_metadata(clean) is clean


@pytest.mark.parametrize("media_type", ["video/webm", "video/x-matroska", "video/x-msvideo"])
def test_bytes_after_the_end_go(media_type: str) -> None:
    parser = PARSERS[media_type]
    assert parser.strip_metadata(DIRTY[media_type] + b"TAG" + SECRET) == parser.strip_metadata(DIRTY[media_type])


@pytest.mark.parametrize(
    ("media_type", "audio", "words"),
    [
        ("video/mp4", b"soun", b"text"),
        ("video/x-matroska", b"\x83\x81\x02", b"\x83\x81\x11"),
        ("video/x-msvideo", b"auds", b"txts"),
    ],
)
def test_tracks_that_are_neither_frames_nor_audio_go_with_what_they_hold(
    media_type: str, audio: bytes, words: bytes
) -> None:
    dirty = DIRTY[media_type]
    with av.open(io.BytesIO(dirty), "r") as file:
        said = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
    assert dirty.count(audio) == 1
    assert all(packet in dirty for packet in said)
    clean = PARSERS[media_type].strip_metadata(dirty.replace(audio, words))
    assert not [packet for packet in said if packet in clean and any(packet)]
    assert decode_images(clean) == decode_images(dirty)
    with av.open(io.BytesIO(clean), "r") as file:
        assert not file.streams.audio


@pytest.mark.parametrize("media_type", TYPES)
def test_a_file_cut_anywhere_is_truncated(media_type: str) -> None:
    parser = PARSERS[media_type]
    whole = parser.strip_metadata(DIRTY[media_type])
    for end in [*range(0, 1000, 7), *range(1000, len(whole), 97), *range(len(whole) - 40, len(whole))]:
        with pytest.raises(Truncated):
            parser.check_whole(whole[:end])


def test_frames_beyond_the_end_of_an_open_box_are_missed() -> None:
    """A box of size 0 goes to the end of the file, wherever that is."""
    whole = bytearray(mp4.strip_metadata(DIRTY["video/mp4"]))
    movie = whole.index(b"moov") - 4
    media = whole.index(b"mdat") - 4
    head, size = bytes(whole[:media]), struct.unpack_from(">I", whole, media)[0]
    faststart = head + bytes(whole[movie:]) + struct.pack(">I", 0) + bytes(whole[media + 4 : media + size])
    shifted = bytearray(faststart)
    for at in [at for at in range(len(shifted)) if shifted[at : at + 4] == b"stco"]:
        for chunk in range(struct.unpack_from(">I", shifted, at + 8)[0]):
            (offset,) = struct.unpack_from(">I", shifted, at + 12 + 4 * chunk)
            struct.pack_into(">I", shifted, at + 12 + 4 * chunk, offset + len(whole) - movie)
    mp4.check_whole(bytes(shifted))
    with pytest.raises(Truncated):
        mp4.check_whole(bytes(shifted[:-1]))


def test_files_without_frames_say_so() -> None:
    for container, parser, coder in (
        ("mp4", mp4, "aac"),
        ("matroska", matroska, "pcm_s16le"),
        ("avi", avi, "pcm_s16le"),
    ):
        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream = out.add_stream(coder, rate=48000, layout="mono")
            assert isinstance(stream, AudioStream)
            frame = av.AudioFrame.from_ndarray(make_tone(48000, 0.1).T.copy(), format="fltp", layout="mono")
            frame.sample_rate = 48000
            fitting = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000, frame_size=1024)
            for piece in [*fitting.resample(frame), None]:
                for packet in stream.encode(piece):
                    out.mux(packet)
        assert parser.read_header(file.getvalue()) == NO_VIDEO


def test_a_recording_without_an_end_lasts_from_its_first_frame_to_its_last() -> None:
    known = encode_video(draw_frames(8), "video/webm")
    with av.open(io.BytesIO(known), "r") as read:
        file = io.BytesIO()
        with av.open(file, "w", format="webm", options={"live": "1"}) as out:
            stream = out.add_stream_from_template(read.streams.video[0])
            for packet in read.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
    live = file.getvalue()
    assert b"\x01\xff\xff\xff\xff\xff\xff\xff" in live
    header = matroska.read_header(live)
    assert header.frames == 8
    assert header.seconds == pytest.approx(0.8, abs=0.05)
    assert decode_images(matroska.strip_metadata(live)) == decode_images(known)


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=150)
@given(edits=changes)
def test_damaged_bytes_give_a_result_or_a_fault(media_type: str, edits: list[tuple[float, int, bool]]) -> None:
    parser = PARSERS[media_type]
    data = mutate(DIRTY[media_type], edits)
    for read in (parser.read_header, parser.check_whole):
        with suppress(FormatFault):
            read(data)
    with suppress(FormatFault):
        once = parser.strip_metadata(data)
        assert len(once) <= len(data)


@pytest.mark.parametrize("media_type", TYPES)
@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_result_or_a_fault(media_type: str, data: bytes) -> None:
    start = DIRTY[media_type][: len(data) % 48]
    with pytest.raises(FormatFault):
        PARSERS[media_type].check_whole(start + data)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


HOSTILE = {
    "video/mp4": [
        box(b"ftyp", b"isom") + box(b"free", b"") * 60_000,
        box(b"moov", box(b"trak", b"") * 60_000),
        box(b"moov", box(b"udta", b"") * 60_000),
    ],
    "video/webm": [DIRTY["video/webm"][:40] + b"\x18\x53\x80\x67\xff" + b"\xec\x80" * 120_000],
    "video/x-matroska": [DIRTY["video/webm"][:40] + b"\x18\x53\x80\x67\xff" + b"\x1f\x43\xb6\x75\xff" * 60_000],
    "video/x-msvideo": [
        b"RIFF" + struct.pack("<I", 480_004) + b"AVI " + (b"JUNK" + bytes(4)) * 60_000,
        (b"RIFF" + struct.pack("<I", 4) + b"AVI ") + (b"RIFF" + struct.pack("<I", 4) + b"AVIX") * 40_000,
    ],
}


@pytest.mark.parametrize("media_type", TYPES)
def test_many_tiny_pieces_takes_linear_time(media_type: str) -> None:
    parser = PARSERS[media_type]
    for data in HOSTILE[media_type]:
        started = time.process_time()
        for read in (parser.read_header, parser.check_whole, parser.strip_metadata):
            with suppress(FormatFault):
                read(data)
        assert time.process_time() - started < 5  # quadratic would be hours


def test_chunks_that_overlap_are_refused() -> None:
    """A table may name the same thousand bytes a hundred thousand times, as captions that are to be erased."""
    count = 100_000
    table = (
        box(b"stsz", struct.pack(">III", 0, 1000, count))
        + box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1))
        + box(b"stco", struct.pack(">II", 0, count) + bytes(4 * count))
    )
    kind = box(b"hdlr", bytes(8) + b"text" + bytes(12))
    movie = box(b"moov", box(b"trak", box(b"mdia", kind + box(b"minf", box(b"stbl", table)))))
    with pytest.raises(FormatFault, match="overlap"):
        mp4.strip_metadata(movie)
