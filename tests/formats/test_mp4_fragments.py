"""Fragmented MP4, as browsers, phones, DASH and HLS write it: as exact, clean and safe as MP4 with one header."""

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.container import InputContainer
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.audio import mp4_audio
from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.iso_boxes import Box, walk_boxes
from pipeline.formats.media_type import find_media_type
from pipeline.formats.type_names import M4A, MP4
from pipeline.formats.video import mp4
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.modalities.video.check import check_video
from pipeline.modalities.video.features import extract_video
from pipeline.modalities.video.params import VideoFeatures
from pipeline.modalities.video.rules import VideoCheck
from pipeline.modalities.video.soundtrack import read_soundtrack
from pipeline.modalities.video.times import read_times
from pipeline.tables.drops import Reason, Rejection
from tests.support.factory_media import SECRET, make_tone
from tests.support.factory_video import HEIGHT, WIDTH, draw_frames, encode_video

FRAMES = draw_frames(20)
WAYS = {
    "recorder": "frag_keyframe+empty_moov+default_base_moof",
    "explicit offsets": "frag_keyframe+empty_moov",
    "first in the header": "frag_keyframe",
    "dash": "dash+frag_keyframe+global_sidx",
    "every frame": "frag_every_frame+empty_moov+separate_moof",
}


def fragment(way: str = "recorder", shift: int = 0, times: list[int] | None = None) -> bytes:
    """A video with audio, its packets moved into fragments; `shift`: seconds from which its times count."""
    source = encode_video(FRAMES, MP4, make_tone(48000, 2.0), times=times)
    options = {"movflags": WAYS[way], "fflags": "+bitexact", "use_editlist": "0"}
    with TemporaryDirectory() as folder, av.open(io.BytesIO(source), "r") as given:
        path = Path(folder, "file.mp4")  # an index before all fragments is written in a second pass
        _copy_packets(given, path, options, shift)
        return path.read_bytes()


def _copy_packets(given: InputContainer, path: Path, options: dict[str, str], shift: int) -> None:
    with av.open(path, "w", format="mp4", options=options) as out:
        out.metadata["comment"] = SECRET.decode()
        streams = {stream: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is not None and packet.time_base is not None and packet.pts is not None:
                packet.stream = streams[packet.stream]
                packet.dts += round(shift / packet.time_base)
                packet.pts += round(shift / packet.time_base)
                out.mux(packet)


def fragment_audio(seconds: float = 1.5) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_every_frame+empty_moov"}) as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(make_tone(48000, seconds).T.copy(), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return file.getvalue()


def list_boxes(data: bytes, name: bytes) -> list[Box]:
    return [box for box in walk_boxes(data, 0, len(data)) if box.name == name]


def check(data: bytes) -> Checked | Rejection:
    return check_video(data, MP4, VideoCheck.model_validate({"max_pixels": 100_000, "max_seconds": 5.0}))


def choose_frames(data: bytes, start: float | None = None, end: float | None = None) -> list[int]:
    params = VideoFeatures(frames=4, height=HEIGHT, width=WIDTH)
    arrays = extract_video(MediaItem(data, MP4, start=start, end=end), params, None)
    assert not isinstance(arrays, Rejection)
    return [min(range(20), key=lambda at: np.abs(FRAMES[at].astype(int) - each).mean()) for each in arrays["video"]]


@pytest.mark.parametrize("way", WAYS)
def test_a_fragmented_video_is_read_as_a_plain_one(way: str) -> None:
    data = fragment(way)
    assert find_media_type(data) == MP4
    header = mp4.read_header(data)
    assert (header.width, header.height, header.frames) == (WIDTH, HEIGHT, 20)
    assert header.seconds == pytest.approx(2.0, abs=0.11)
    checked = check(data)
    assert isinstance(checked, Checked), checked
    assert checked.facts == {"width": WIDTH, "height": HEIGHT, "frames": 20}
    assert SECRET in data
    assert SECRET not in checked.data
    assert len(checked.data) == len(data)
    assert mp4.strip_metadata(checked.data) is checked.data
    assert choose_frames(checked.data) == [2, 7, 12, 17]
    assert choose_frames(checked.data, 1.0, 1.4) == [10, 11, 12, 13]


def test_frames_of_a_varying_rate_are_taken_by_time() -> None:
    times = [*range(10), *range(20, 30)]
    data = fragment(times=times)
    assert read_times(data, MP4) == pytest.approx(np.array(times) / 10)
    assert choose_frames(data, 0.0, 2.0) == [2, 7, 9, 9]


def test_a_recording_of_a_live_stream_begins_with_its_first_frame() -> None:
    data = fragment(shift=3600)
    assert mp4.read_header(data).seconds == pytest.approx(2.0, abs=0.11)
    assert choose_frames(data) == [2, 7, 12, 17]
    samples = read_soundtrack(data, MP4, (0.5, 1.5), AudioFeatures(seconds=1.0, rate=16000))
    assert not isinstance(samples, Rejection)
    assert len(samples) == 16000
    assert np.abs(samples).max() > 0.1


def walk_cuts(data: bytes) -> Iterator[int]:
    """Places inside the boxes at the top of a file."""
    for box in walk_boxes(data, 0, len(data)):
        yield from {box.start + 3, box.body, (box.body + box.end) // 2, box.end - 1} - {box.start, box.end}


@pytest.mark.parametrize("way", WAYS)
def test_a_file_cut_within_a_fragment_is_truncated(way: str) -> None:
    data = mp4.strip_metadata(fragment(way))
    for end in walk_cuts(data):
        with pytest.raises(Truncated):
            mp4.check_whole(data[:end])
    for box in list_boxes(data, b"mdat"):
        with pytest.raises(Truncated):
            mp4.check_whole(data[: box.start])  # the fragment says what should follow


def test_a_file_cut_between_fragments_is_truncated_where_an_index_or_a_length_tells() -> None:
    data = fragment("dash")
    assert list_boxes(data, b"sidx")
    last = list_boxes(data, b"moof")[-1]
    with pytest.raises(Truncated, match="index"):
        mp4.check_whole(data[: last.start])
    whole = fragment()
    movie = list_boxes(whole, b"moov")[0]
    (scale,) = struct.unpack_from(">I", whole, movie.body + 8 + 12)
    trex = whole.index(b"trex") - 4
    declared = whole[:trex] + struct.pack(">I4sII", 16, b"mehd", 0, 2 * scale) + whole[trex + 32 :]
    filler = struct.pack(">I4s8x", 16, b"free")
    declared = declared[: trex + 16] + filler + declared[trex + 16 :]
    assert len(declared) == len(whole)
    with pytest.raises(FormatFault, match="does not describe"):
        mp4.check_whole(declared)  # in place of a track's defaults
    grown = bytearray(whole[:trex] + struct.pack(">I4sII", 16, b"mehd", 0, 9 * scale) + whole[trex:])
    for at in (movie.start, whole.index(b"mvex") - 4):
        struct.pack_into(">I", grown, at, struct.unpack_from(">I", grown, at)[0] + 16)
    with pytest.raises(Truncated, match="length that the header declares"):
        mp4.check_whole(bytes(grown))


def test_audio_is_read_as_m4a() -> None:
    data = fragment_audio()
    assert find_media_type(data) == M4A
    header = mp4_audio.read_header(data)
    assert (header.rate, header.channels) == (48000, 1)
    assert header.frames == pytest.approx(72_000, abs=2048)
    checked = check_audio(data, M4A, AudioCheck())
    assert isinstance(checked, Checked), checked
    assert checked.facts["frames"] == pytest.approx(72_000, abs=2048)
    last = list_boxes(data, b"mdat")[-1]
    cut = check_audio(data[: last.body], M4A, AudioCheck())
    assert isinstance(cut, Rejection)
    assert cut.reason is Reason.TRUNCATED


def test_tracks_that_are_neither_frames_nor_audio_go_with_their_fragments() -> None:
    dirty = fragment()
    with av.open(io.BytesIO(dirty), "r") as file:
        said = [bytes(packet) for packet in file.demux(audio=0) if packet.size > 8]
    clean = mp4.strip_metadata(dirty.replace(b"soun", b"text"))
    assert not [packet for packet in said if packet in clean]
    assert choose_frames(clean) == [2, 7, 12, 17]
    with av.open(io.BytesIO(clean), "r") as file:
        assert not file.streams.audio


def test_counts_that_no_file_can_have_are_refused_before_anything_is_allocated() -> None:
    data = bytearray(fragment())
    run = data.index(b"trun")
    struct.pack_into(">I", data, run + 8, 0xFFFFFFFF)
    verdict = check(bytes(data))
    assert isinstance(verdict, Rejection)
    struct.pack_into(">I", data, run + 4, 0)  # all samples as its header says, with a count and no table
    struct.pack_into(">I", data, run - 4, 16)
    assert isinstance(check(bytes(data)), Rejection)


BASE = fragment()
BOXES = [at for name in (b"moof", b"traf", b"tfhd", b"tfdt", b"trun", b"trex") for at in [BASE.index(name) - 4]]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(BOXES), st.integers(0, 40), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_is_a_reason(edits: list[tuple[int, int, int]]) -> None:
    damaged = bytearray(BASE)
    for at, further, value in edits:
        damaged[at + further] = value
    verdict = check(bytes(damaged))
    assert isinstance(verdict, Checked) or verdict.detail
