"""Videos: which are kept and why others are dropped; frames and audio features, up to training."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.align.params import AlignParams
from pipeline.clean.near_duplicates import normalize_thumbnails
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.errors import InputError
from pipeline.extract.params import ExtractParams
from pipeline.modalities.audio.features import extract_audio
from pipeline.modalities.modality import Checked, MediaItem, PerceptualHash
from pipeline.modalities.video.check import check_video
from pipeline.modalities.video.features import extract_video
from pipeline.modalities.video.formats import PARSERS
from pipeline.modalities.video.params import VideoFeatures
from pipeline.modalities.video.rules import VideoCheck
from pipeline.modalities.video.soundtrack import read_soundtrack
from pipeline.models.inputs import PartInput, read_inputs
from pipeline.tables.contracts import CLEANED_FOLDER, DROPPED
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.table_files import read_table
from pipeline.train.augment import augment_video
from pipeline.train.keyed_random import KeyedRandom
from shardwright import ShardDataset, read_manifest
from tests.support.factory_extract import ROOT, read_all
from tests.support.factory_media import encode_audio, make_tone
from tests.support.factory_shards import Toy, make_shards
from tests.support.factory_video import CODECS, HEIGHT, WIDTH, draw_frames, encode_video, write_with_opencv
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow

BLOCKS = read_effective_params(ROOT / "params.yaml")
CHECK = VideoCheck.model_validate({"max_pixels": 100_000, "max_seconds": 5.0, "max_frames": 60})
TYPES = list(CODECS)


def choose(**changes: Any) -> VideoFeatures:
    block = {**BLOCKS["extract"]["video"], "height": HEIGHT, "width": WIDTH, "frames": 4, **changes}
    return VideoFeatures.model_validate(block)


def check(data: bytes, media_type: str, **changes: Any) -> Checked | Rejection:
    return check_video(data, media_type, CHECK.model_copy(update=changes))


def extract(item: MediaItem, params: VideoFeatures) -> dict[str, NDArray[Any]]:
    arrays = extract_video(item, params, None)
    assert not isinstance(arrays, Rejection)
    return dict(arrays)


def measure(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> float:
    """The mean difference in levels: coders lose some."""
    return float(np.abs(ours.astype(int) - theirs.astype(int)).mean())


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize(("count", "places"), [(4, [2, 7, 12, 17]), (1, [10]), (20, list(range(20))), (2, [5, 15])])
def test_frames_are_evenly_spaced(media_type: str, count: int, places: list[int]) -> None:
    frames = draw_frames(20)
    arrays = extract(MediaItem(encode_video(frames, media_type), media_type), choose(frames=count))
    assert arrays["video"].shape == (count, HEIGHT, WIDTH, 3)
    for ours, place in zip(arrays["video"], places, strict=True):
        assert measure(ours, frames[place]) < 6
        assert min(range(20), key=lambda other: measure(ours, frames[other])) == place


def test_few_frames_are_taken_twice() -> None:
    frames = draw_frames(2)
    video = extract(MediaItem(encode_video(frames, "video/x-msvideo"), "video/x-msvideo"), choose(frames=5))["video"]
    assert [int(measure(each, frames[0]) > 6) for each in video] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("media_type", TYPES)
def test_spans_are_honoured(media_type: str) -> None:
    frames = draw_frames(20)
    item = MediaItem(encode_video(frames, media_type), media_type, start=1.0, end=1.4)
    video = extract(item, choose())["video"]
    assert all(measure(ours, theirs) < 6 for ours, theirs in zip(video, frames[10:14], strict=True))
    for start in (2.5, 1e308):
        rejection = extract_video(MediaItem(item.data, media_type, start=start, end=1.5e308), choose(), None)
        assert isinstance(rejection, Rejection)
        assert rejection.reason is Reason.TOO_SHORT
    rest = extract(MediaItem(item.data, media_type, start=1.0, end=1.5e308), choose())["video"]
    assert np.array_equal(rest, extract(MediaItem(item.data, media_type, start=1.0), choose())["video"])


def test_frames_on_their_side_come_upright() -> None:
    """By the matrix of the track's header, as telephones write it: a quarter turn to the right."""
    frames = draw_frames(8)
    data = bytearray(encode_video(frames, "video/mp4"))
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, 0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)
    checked = check(bytes(data), "video/mp4")
    assert isinstance(checked, Checked)
    assert checked.facts == {"width": WIDTH, "height": HEIGHT, "frames": 8}
    video = extract(MediaItem(checked.data, "video/mp4"), choose(height=WIDTH, width=HEIGHT))["video"]
    for ours, place in zip(video, (1, 3, 5, 7), strict=True):
        assert measure(ours, np.rot90(frames[place], -1)) < 6


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_frames_are_fitted_as_images_are(fit: str) -> None:
    frames = [np.full((HEIGHT, WIDTH, 3), (200, 40, 90), np.uint8)] * 3
    params = choose(height=20, width=40, fit=fit, background=(1, 2, 3), frames=1)
    (frame,) = extract(MediaItem(encode_video(frames, "video/x-msvideo"), "video/x-msvideo"), params)["video"]
    assert frame.shape == (20, 40, 3)
    assert np.abs(frame[10, 20].astype(int) - (200, 40, 90)).max() < 12
    assert ((frame[:, 0] == (1, 2, 3)).all(1) == (fit == "pad")).all()


@pytest.mark.parametrize("media_type", ["video/x-matroska", "video/x-msvideo"])
def test_audio_is_that_of_an_audio_file(media_type: str) -> None:
    """PCM in the container, so that both are the same samples."""
    audio, params = make_tone(48000, 1.0), choose()
    arrays = extract(MediaItem(encode_video(draw_frames(10), media_type, audio), media_type), params)
    alone = extract_audio(MediaItem(encode_audio(audio, 48000, "WAV"), "audio/wav"), params.sound, None)
    assert not isinstance(alone, Rejection)
    assert int(arrays["video_mfcc_length"]) == int(alone["mfcc_length"]) == 63
    assert np.abs(arrays["video_mfcc"] - alone["mfcc"]).max() < 1.0  # PCM of 16 bits, rounded in two ways


@pytest.mark.parametrize("media_type", TYPES)
def test_audio_of_a_span_is_found(media_type: str) -> None:
    time = np.arange(96_000) / 48_000
    audio = np.where(time < 1, np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 2000 * time))[:, None] * 0.5
    data = encode_video(draw_frames(20), media_type, audio.astype(np.float32))
    params = choose().sound.model_copy(update={"seconds": 0.5})
    for span, pitch in (((0.2, 0.8), 300), ((1.2, None), 2000)):
        samples = read_soundtrack(data, media_type, span, params)
        assert not isinstance(samples, Rejection)
        assert len(samples) == 8000
        spectrum = np.abs(np.fft.rfft(samples))
        assert abs(np.argmax(spectrum) * 2 - pitch) < 10
    samples = read_soundtrack(data, media_type, (5.0, None), params)
    assert not isinstance(samples, Rejection)
    assert not len(samples)


@pytest.mark.parametrize("media_type", TYPES)
def test_a_video_without_audio_has_no_frames_of_it(media_type: str) -> None:
    features = {**BLOCKS["extract"]["video"]["sound"], "features": ["mfcc", "loudness"]}
    arrays = extract(MediaItem(encode_video(draw_frames(5), media_type), media_type), choose(sound=features))
    assert list(arrays) == ["video", "video_mfcc", "video_mfcc_length", "video_loudness", "video_loudness_length"]
    assert int(arrays["video_mfcc_length"]) == int(arrays["video_loudness_length"]) == 0
    assert not arrays["video_mfcc"].any()
    assert (arrays["video_loudness"] == -100).all()


@pytest.mark.parametrize("codec", [(b"zzzz", b"\xfe\x15"), (b"mp4a", b"\xd0\x15")], ids=["unknown", "of images"])
def test_audio_of_a_codec_that_cannot_be_is_broken(codec: tuple[bytes, bytes]) -> None:
    data = encode_video(draw_frames(10), "video/mp4", make_tone(48000, 1.0))
    for name, wrong in zip((b"mp4a", b"\x40\x15"), codec, strict=True):  # the tag, and the type in its descriptor
        assert data.count(name) == 1
        data = data.replace(name, wrong)
    extracted = extract_video(MediaItem(data, "video/mp4"), choose(), None)
    assert isinstance(extracted, Rejection)
    assert extracted.reason == Reason.BROKEN


@pytest.mark.parametrize("media_type", TYPES)
def test_facts_and_limits(media_type: str) -> None:
    data = encode_video(draw_frames(20), media_type, make_tone(48000, 2.0))
    checked = check(data, media_type)
    assert isinstance(checked, Checked)
    assert checked.facts == {"width": WIDTH, "height": HEIGHT, "frames": 20}
    limits = {
        "max_pixels": (3000, Reason.TOO_MANY_PIXELS), "min_side": (49, Reason.TOO_SMALL),
        "max_seconds": (1.5, Reason.TOO_LONG), "max_frames": (19, Reason.TOO_LONG),
    }  # fmt: skip
    for name, (limit, reason) in limits.items():
        rejection = check(data, media_type, **{name: limit})
        assert isinstance(rejection, Rejection)
        assert (rejection.reason, rejection.limit) == (reason, f"{limit}")


def test_limits_are_held_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("pipeline.modalities.video.features.read_frames", refuse)
    for media_type in TYPES:
        data = encode_video(draw_frames(20), media_type)
        assert isinstance(check(data, media_type, max_frames=3), Rejection)
        assert isinstance(check(data[: len(data) // 2], media_type), Rejection)


def test_frames_of_another_size_than_the_header_says_are_broken() -> None:
    data = bytearray(encode_video(draw_frames(4), "video/x-msvideo"))
    at = data.index(b"strf") + 8
    data[at + 4 : at + 8] = (32).to_bytes(4, "little")
    data[at + 8 : at + 12] = (32).to_bytes(4, "little")
    rejection = check(bytes(data), "video/x-msvideo")
    assert isinstance(rejection, Rejection)


@pytest.mark.parametrize("media_type", TYPES)
def test_frames_of_zeros_are_broken_or_cut(media_type: str) -> None:
    data = encode_video(draw_frames(20), media_type)
    with_zeros = data
    for packet in _list_packets(data):
        with_zeros = with_zeros.replace(packet, bytes(len(packet)))
    rejection = check(with_zeros, media_type)
    assert isinstance(rejection, Rejection)
    assert rejection.reason in (Reason.BROKEN, Reason.TRUNCATED)


def _list_packets(data: bytes) -> list[bytes]:
    import av

    with av.open(io.BytesIO(data), "r") as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size > 8]


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_near_and_other_videos_are_not(seed: int) -> None:
    frames = draw_frames(20, seed)
    small = [cv2.resize(frame, (48, 36), interpolation=cv2.INTER_AREA) for frame in frames]
    hashes = []
    for drawn, media_type in (
        *((frames, media_type) for media_type in TYPES),
        (small, "video/mp4"),
        (frames[::-1], "video/mp4"),
        (draw_frames(20, seed + 50), "video/mp4"),
    ):
        checked = check(encode_video(drawn, media_type), media_type)
        assert isinstance(checked, Checked)
        hashes.append(checked.perceptual_hash)
    first, *copies, backwards, other = hashes
    assert all(are_near(first, copy) for copy in copies)
    assert not are_near(first, backwards)
    assert not are_near(first, other)


def are_near(one: PerceptualHash, other: PerceptualHash) -> bool:
    cells = np.stack([np.frombuffer(each.thumbnail, np.uint8) for each in (one, other)])
    first, second = normalize_thumbnails(cells).astype(int)
    differ = (one.bits ^ other.bits).bit_count()
    return differ <= CHECK.near_bits and np.abs(first - second).mean() <= CHECK.near_difference


def test_no_file_is_opened_for_a_video(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images and audio come from the bytes; a file that names another gets nothing of it."""
    monkeypatch.chdir(tmp_path)
    for text in (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"):
        for media_type in TYPES:
            assert isinstance(check(text, media_type), Rejection)
            assert isinstance(extract_video(MediaItem(text, media_type), choose(), None), Rejection)
    assert not list(tmp_path.iterdir())


@given(st.integers(0, 2**32 - 1))
def test_frames_of_a_video_are_augmented_alike(seed: int) -> None:
    frames = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (2, 1, 16, 16, 3), np.uint8))
    source = PartInput("video", "video", "video", (5, 16, 16, 3))
    augmented = augment_video(
        frames.expand(2, 5, 16, 16, 3), None, source, KeyedRandom.for_samples(seed, 0, ["a", "b"])
    )
    assert augmented.shape == (2, 5, 16, 16, 3)
    assert (augmented == augmented[:, :1]).all()


CAPTIONS = {"one": ["a red thing", "one red bird"], "two": ["a green thing", "two green birds"]}
CODES = {"mp4": "mp4v", "avi": "MJPG", "webm": "VP80", "mkv": "mp4v"}


def make_corpus(folder: Path) -> dict[str, list[NDArray[np.uint8]]]:
    """Videos with captions, a broken one, and audio without any; the frames by the stem of the file."""
    folder.mkdir()
    drawn = {}
    for number in range(24):
        stem, ending = f"{['one', 'two'][number % 2]}_{number}", list(CODES)[number % 4]
        drawn[stem] = draw_frames(10, number)
        write_with_opencv(folder / f"{stem}.{ending}", drawn[stem], CODES[ending])
        (folder / f"{stem}.txt").write_text(f"{CAPTIONS[stem[:3]][number % 3 % 2]} {number}")
    whole = encode_video(draw_frames(10, 99), "video/mp4")
    (folder / "one_98.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "one_98.txt").write_text("a cut one")
    return drawn


def plan_run(folder: Path) -> dict[str, Any]:
    pattern = r"(?P<key>(?P<label>[a-z]+)_\d+)\.{}"
    rule = {"required": True, "part": None}
    return edit_params(
        crawl__start=[], ingest__root=str(folder), align__by="pattern", align__label="path",
        align__modalities={
            "video": {**rule, "pattern": pattern.format("(mp4|avi|webm|mkv)")},
            "text": {**rule, "pattern": pattern.format("txt")},
        },
        align__duplicates={"exact": "drop", "near": "keep", "share_split": "all"}, align__max_group=1.0,
        extract__video__frames=5, extract__video__height=HEIGHT, extract__video__width=WIDTH,
        extract__text__min_count=1,
    )  # fmt: skip


def test_the_whole_way(tmp_path: Path) -> None:
    drawn = make_corpus(tmp_path / "files")
    outcomes = run_stages(plan_run(tmp_path / "files"), tmp_path, until="extract")
    assert outcomes["ingest"].kept == 50
    assert outcomes["extract"].kept == 24
    dropped = read_table(tmp_path / "data" / CLEANED_FOLDER / "dropped", DROPPED)
    (cut,) = (row["key"] for row in dropped if row["reason"] == Reason.TRUNCATED)
    assert "one_98.mp4" in cut
    root, seen = tmp_path / "data/5_shards", 0
    for split in ("train", "val", "test"):
        for key, sample in read_all(root, split).items():
            frames = drawn["_".join(key.split("-")[0].split("_")[:2])]
            for ours, place in zip(sample["video"], (1, 3, 5, 7, 9), strict=True):
                assert measure(ours, frames[place]) < 6
            assert int(sample["video_mfcc_length"]) == 0
            seen += 1
    assert seen == 24
    data = ShardDataset(root, "train")
    assert (data.fields["video"].axes, data.fields["video"].shape) == ("THWC", (5, HEIGHT, WIDTH, 3))
    assert len((data.manifest.statistics or {})["video"].mean) == 3


def test_a_model_is_told_that_there_are_no_videos(tmp_path: Path) -> None:
    root = make_shards(tmp_path, Toy(train=4, val=2, test=2))
    with pytest.raises(
        InputError, match=r"train\.modalities has `video`, but the dataset in .* has image, audio, text"
    ):
        read_inputs(root, read_manifest(root), ["text", "video"])


def test_rules_and_blocks_know_videos() -> None:
    assert not check_block(BLOCKS, "align", AlignParams).modalities.selected["video"].required
    assert check_block(BLOCKS, "extract", ExtractParams).features["video"].frames == 8


@pytest.mark.parametrize("media_type", ["video/mp4", "video/webm", "video/x-matroska"])
def test_frames_of_a_varying_rate_are_taken_by_time(media_type: str) -> None:
    """Ten frames in the first second, then one that stays for a second, then ten again."""
    frames = draw_frames(21)
    times = [*range(10), 10, *range(20, 30)]
    data = encode_video(frames, media_type, times=times)
    checked = check(data, media_type)
    assert isinstance(checked, Checked)
    video = extract(MediaItem(checked.data, media_type), choose(frames=6))["video"]
    seconds = PARSERS[media_type].read_header(data).seconds
    places = [sum(10 * (2 * part + 1) * seconds / 12 >= time for time in times) - 1 for part in range(6)]
    assert places[2] == places[3] == 10
    assert [min(range(21), key=lambda at: measure(each, frames[at])) for each in video] == places
    part = extract(MediaItem(checked.data, media_type, start=2.0, end=2.8), choose(frames=4))["video"]
    assert [min(range(21), key=lambda at: measure(each, frames[at])) for each in part] == [12, 14, 16, 18]
