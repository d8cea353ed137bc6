"""WAV of any header, Ogg chained or not, MP3, AAC, AIFF and SPHERE: what is kept and why others are dropped."""

import io
import random
import struct
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from pipeline.formats.audio import mp3, wav
from pipeline.formats.media_type import find_media_type
from pipeline.formats.type_names import AAC, AIFF, FLAC, M4A, MP3, NIST, OPUS, VORBIS, WAV
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.decode import read_blocks
from pipeline.modalities.audio.features import extract_audio
from pipeline.modalities.audio.formats import FORMATS
from pipeline.modalities.audio.params import AudioFeatures
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.tables.drops import Reason, Rejection
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_audio import (
    build_wav,
    encode_by_ffmpeg,
    encode_pcm,
    make_ape,
    make_dirty_mp3,
    make_id3,
    make_id3v1,
    make_lyrics,
)
from tests.support.factory_media import encode_audio, make_tone

CHECK = AudioCheck()
TONE = make_tone(16000, 0.5)
PCM = encode_pcm(TONE)
FEATURES = AudioFeatures(seconds=2.5, features=("mfcc",))


def check(data: bytes, media_type: str = "") -> Checked:
    checked = check_audio(data, media_type or find_media_type(data), CHECK)
    assert isinstance(checked, Checked), checked
    return checked


def reject(data: bytes, media_type: str = "", **limits: Any) -> Rejection:
    rejection = check_audio(data, media_type or find_media_type(data), CHECK.model_copy(update=limits))
    assert isinstance(rejection, Rejection), rejection
    return rejection


def decode(data: bytes, media_type: str = "") -> NDArray[np.float32]:
    return np.concatenate([block.samples for block in read_blocks(data, media_type or find_media_type(data))])


def extract(data: bytes, **how: Any) -> NDArray[np.float32]:
    """The MFCC of what clean keeps."""
    media_type = find_media_type(data)
    span = {name: how.pop(name) for name in ("start", "end") if name in how}
    arrays = extract_audio(MediaItem(data, media_type, **span), FEATURES.model_copy(update=how), None)
    assert not isinstance(arrays, Rejection), arrays
    return arrays["mfcc"][: int(arrays["mfcc_length"])]


# WAV


@pytest.mark.parametrize(
    ("size", "whole"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),  # FFmpeg into a pipe
        (0x7FFFF000, 0x7FFFF024),  # sox into a pipe
        (0x7FFFFFFF, 0x80000023),  # arecord
        (0x80000000, 0x80000024),
        (0xFFFFFFFF - 36, 0xFFFFFFFF),
        (0, 0),  # a recorder that was killed
        (0, 36),
        (0, 0xFFFFFFFF),
        (len(PCM) + 44, None),  # recorders that count the header twice
        (len(PCM) + 8, None),
        (len(PCM), 0),
        (len(PCM), 0xFFFFFFFF),
    ],
)
def test_a_wav_whose_header_does_not_know_the_length_is_whole(size: int, whole: int | None) -> None:
    data = build_wav(PCM, size=size, whole=whole)
    checked = check(data)
    assert checked.facts["frames"] == 8000
    assert checked.data == build_wav(PCM), "with the lengths that it has"
    assert np.array_equal(decode(checked.data)[:, 0], np.frombuffer(PCM, "<i2") / np.float32(32768))


@pytest.mark.parametrize("size", [len(PCM), 1 << 24, 0x7000_0000])
def test_a_wav_that_was_cut_is_not_taken_for_one_of_unknown_length(size: int) -> None:
    for end in (1, 2, 44, 45, 4000, len(PCM) - 1):
        data = build_wav(PCM, size=size, whole=size + 36)[:-end]
        assert reject(data, max_seconds=1e6).reason is Reason.TRUNCATED


def test_a_wav_without_samples_stays_one() -> None:
    assert wav.read_header(build_wav(b"")).frames == 0
    content = build_wav(b"")[8:] + b"LIST\x04\0\0\0INFO"
    assert wav.read_header(b"RIFF" + struct.pack("<I", len(content)) + content).frames == 0


@pytest.mark.parametrize(
    "how", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"]
)
def test_wav_codings(how: str) -> None:
    tone = make_tone(8000, 0.5)
    checked = check(encode_audio(tone, 8000, "WAV", subtype=how))
    assert np.corrcoef(decode(checked.data)[:4000, 0], tone[:, 0])[0, 1] > 0.9
    assert reject(checked.data[:-100]).reason is Reason.TRUNCATED
    assert np.abs(extract(checked.data, start=0.1, end=0.4).mean(axis=0)[1:5]).max() > 0


def test_long_forms_of_wav_with_and_without_a_length() -> None:
    data = encode_audio(TONE, 16000, "RF64")
    at = data.index(b"ds64") + 8
    for head in (b"RF64", b"BW64"):
        for size in (None, (1 << 64) - 1):
            made = bytearray(head + data[4:])
            if size is not None:
                struct.pack_into("<Q", made, at + 8, size)
            assert check(bytes(made)).facts["frames"] == 8000


def test_a_wav_coding_that_is_not_read_is_named() -> None:
    form = struct.pack("<HHIIHHH", 0x0161, 1, 16000, 32000, 2, 16, 0)
    rejection = reject(build_wav(PCM, form))
    assert rejection.reason is Reason.UNSUPPORTED_TYPE
    assert "0x0161" in rejection.detail


# other formats


@pytest.mark.parametrize(
    ("data", "rate"),
    [
        (encode_audio(make_tone(44100, 0.5, 2), 44100, "MP3"), 44100),
        (encode_audio(make_tone(8000, 0.5), 8000, "MP3"), 8000),
        (encode_by_ffmpeg(make_tone(24000, 0.5, 2), 24000, "mp3", "libmp3lame"), 24000),
        (encode_audio(make_tone(48000, 0.5, 2), 48000, "OGG", subtype="OPUS"), 48000),
        (encode_audio(make_tone(8000, 0.5), 8000, "OGG", subtype="OPUS"), 8000),
        (encode_audio(make_tone(22050, 0.5, 2), 22050, "AIFF", subtype="PCM_24"), 22050),
        (encode_audio(make_tone(16000, 0.5), 16000, "AIFF", subtype="FLOAT"), 16000),
        (encode_audio(make_tone(16000, 0.5), 16000, "AIFF", subtype="IMA_ADPCM"), 16000),
        (encode_audio(make_tone(8000, 0.5), 8000, "NIST", subtype="ULAW"), 8000),
        (encode_audio(make_tone(8000, 0.5), 8000, "NIST", subtype="PCM_32"), 8000),
    ],
)
def test_samples_are_those_that_were_encoded(data: bytes, rate: int) -> None:
    media_type = find_media_type(data)
    checked = check(data)
    header = FORMATS[media_type].parser.read_header(data)
    decoded = decode(checked.data)
    assert checked.facts == {"sample_rate": rate, "frames": len(decoded), "channels": decoded.shape[1]}
    assert (header.rate, header.frames, header.channels) == (rate, len(decoded), decoded.shape[1])
    assert rate // 2 <= len(decoded) < rate // 2 + 1024
    tone = make_tone(rate, 0.5, decoded.shape[1])
    assert np.corrcoef(decoded[: rate // 2, 0], tone[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize(("container", "media_type"), [("adts", AAC), ("ipod", M4A), ("mp4", M4A)])
def test_aac_is_found_and_decoded(container: str, media_type: str) -> None:
    tone = make_tone(44100, 1.0, 2)
    data = encode_by_ffmpeg(tone, 44100, container, "aac")
    assert find_media_type(data) == media_type
    checked = check(data)
    assert (checked.facts["sample_rate"], checked.facts["channels"]) == (44100, 2)
    assert 44100 <= checked.facts["frames"] <= 44100 + 2 * 1024
    late = decode(checked.data)[1024 : 1024 + 44100]  # what the encoder puts before
    assert np.corrcoef(late[:, 1], tone[:, 1])[0, 1] > 0.8


@pytest.mark.parametrize("media_type", [MP3, AAC, M4A, OPUS, AIFF, NIST])
def test_spans_are_honoured(media_type: str) -> None:
    tone = make_tone(16000, 2.0)
    kinds = {MP3: ("MP3", {}), OPUS: ("OGG", {"subtype": "OPUS"}), AIFF: ("AIFF", {}), NIST: ("NIST", {})}
    if media_type in kinds:
        kind, how = kinds[media_type]
        data = encode_audio(tone, 16000, kind, **how)
    else:
        data = encode_by_ffmpeg(tone, 16000, "adts" if media_type == AAC else "ipod", "aac")
    whole = decode(data)
    part = extract(data, start=0.5, end=1.5)
    alone = extract(encode_audio(whole[8000:24000], 16000, "WAV", subtype="FLOAT"))
    assert part.shape == alone.shape == (63, 40)
    assert np.abs(part - alone).max() < 0.1
    rejection = extract_audio(MediaItem(data, media_type, start=3.0), FEATURES, None)
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.TOO_SHORT


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_is_one_recording(subtype: str) -> None:
    files = [
        encode_audio(make_tone(16000, 0.5, seed=seed), 16000, "OGG", "a title", subtype=subtype) for seed in (1, 2)
    ]
    data = b"".join(files)
    media_type = VORBIS if subtype == "VORBIS" else OPUS
    checked = check(data)
    assert checked.facts["frames"] == 16000
    assert b"a title" not in checked.data
    assert np.array_equal(decode(data), np.concatenate([decode(file) for file in files]))
    assert np.abs(extract(data, start=0.5) - extract(files[1])).max() < 1e-3
    assert reject(data[:-50]).reason is Reason.TRUNCATED
    other = encode_audio(make_tone(8000, 0.5), 8000, "OGG", subtype=subtype)
    assert reject(files[0] + other, media_type).reason is Reason.UNSUPPORTED_TYPE


# tags


@pytest.mark.parametrize("before", [b"", make_id3(), make_id3() + make_id3(b"x" * 90)])
@pytest.mark.parametrize(
    "after", [b"", make_id3v1(), make_ape(), make_lyrics() + make_id3v1(), make_ape() + make_id3v1()]
)
def test_tags_before_and_after_are_removed(before: bytes, after: bytes) -> None:
    for plain in (
        encode_audio(TONE, 16000, "MP3"),
        encode_by_ffmpeg(TONE, 16000, "adts", "aac"),
        check(encode_audio(TONE, 16000, "FLAC")).data,
    ):
        tagged = before + plain + after
        assert find_media_type(tagged) == find_media_type(plain)
        assert check(tagged).data == plain


def test_an_mp3_without_a_count_is_counted_by_its_frames() -> None:
    plain = mp3.strip_metadata(make_dirty_mp3())
    bare = plain[mp3._walk_frames(plain).frames[1].start :]
    assert mp3.read_header(bare).frames == check(bare).facts["frames"]
    assert mp3.read_header(bare).frames >= 8000
    junk = bytes(300) + bare + bytes(40)
    assert check(junk, MP3).data == bare


def test_an_mp3_of_varying_bits_without_a_count_is_read_to_its_end() -> None:
    file = io.BytesIO()
    tone = np.concatenate([make_tone(44100, 1.0) * share for share in (0.001, 1, 0, 1)])
    with soundfile.SoundFile(file, "w", 44100, 1, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2) as out:
        out.write(tone)
    plain = mp3.strip_metadata(file.getvalue())
    bare = plain[mp3._walk_frames(plain).frames[1].start :]
    assert abs(check(bare).facts["frames"] - 4 * 44100) < 4 * 1152


def test_an_mp3_with_frames_missing_is_truncated_by_its_count() -> None:
    plain = mp3.strip_metadata(make_dirty_mp3())
    frames = mp3._walk_frames(plain).frames
    assert reject(plain[: frames[-1].start]).reason is Reason.TRUNCATED
    middle = plain[: frames[5].start] + b"no frame at all" * 9 + plain[frames[5].start :]
    assert reject(middle).reason is Reason.BROKEN


# channels that cancel


@pytest.mark.parametrize("noise", [0.0, 0.005])
def test_channels_that_cancel_are_dropped_by_name_or_one_is_taken(noise: float) -> None:
    tone = make_tone(16000, 1.0)
    rng = np.random.default_rng(0)
    turned = -tone + rng.normal(0, noise, tone.shape).astype(np.float32) if noise else -tone
    data = encode_audio(np.hstack([turned * 0.9, tone]) if noise else np.hstack([turned, tone]), 16000, "WAV")
    dropped = reject(data)
    assert (dropped.reason, dropped.setting) == (Reason.CANCELLED_CHANNELS, "max_cancellation")
    kept = check_audio(data, WAV, CHECK.model_copy(update={"max_cancellation": 240.0}))
    assert isinstance(kept, Checked)
    assert np.frombuffer(kept.perceptual_hash.thumbnail, np.uint8).std() > 10, "a hash of what can be heard"
    rejection = extract_audio(MediaItem(data, WAV), FEATURES, None)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.setting) == (Reason.CANCELLED_CHANNELS, "mono")
    alone = extract(encode_audio(tone, 16000, "WAV"))
    assert np.abs(extract(data, mono="loudest") - alone).max() < 0.1
    first = extract(encode_audio((turned * 0.9 if noise else turned), 16000, "WAV"))
    assert np.abs(extract(data, mono="first") - first).max() < 1e-3


def test_channels_that_do_not_cancel_are_kept() -> None:
    rng = np.random.default_rng(0)
    for channels in (2, 8):
        check(encode_audio(rng.normal(0, 0.1, (16000, channels)).astype(np.float32), 16000, "WAV"))
    tone = make_tone(16000, 1.0)
    for other in (tone, np.zeros_like(tone), np.roll(tone, 7), tone * 0.5):
        check(encode_audio(np.hstack([tone, other]), 16000, "WAV"))


# damage


@pytest.mark.sweep
@pytest.mark.parametrize("media_type", FORMATS)
def test_every_cut_is_noticed_or_harmless(media_type: str) -> None:
    """FLAC is broken by the decoder's word; a file of frames alone that is cut between two is a shorter one."""
    whole = check(make_dirty_files()[media_type], media_type).data
    frames = check(whole, media_type).facts["frames"]
    for end in range(1, len(whole)):
        verdict = check_audio(whole[:end], media_type, CHECK)
        if isinstance(verdict, Checked):
            assert media_type == AAC or verdict.facts["frames"] == frames, end
            assert verdict.data == whole[:end]
        else:
            assert verdict.reason in {Reason.TRUNCATED, Reason.TOO_SHORT} or media_type == FLAC, end


@pytest.mark.sweep
@pytest.mark.parametrize("media_type", FORMATS)
def test_a_bit_that_flips_gives_a_verdict(media_type: str) -> None:
    draw, whole = random.Random(0), check(make_dirty_files()[media_type], media_type).data
    for at in [*range(min(len(whole), 400)), *(draw.randrange(len(whole)) for _ in range(1_000))]:
        flipped = whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        verdict = check_audio(flipped, media_type, CHECK)
        if isinstance(verdict, Checked):
            again = check_audio(verdict.data, media_type, CHECK)
            assert isinstance(again, Checked)
            assert again.data is verdict.data
            extract_audio(MediaItem(verdict.data, media_type), FEATURES, None)


def test_resampling_is_that_of_the_whole() -> None:
    tone = make_tone(44100, 1.0)
    data = encode_audio(tone, 44100, "MP3")
    mono = soxr.resample(decode(data)[:, 0], 44100, 16000)
    alone = extract(encode_audio(mono, 16000, "WAV", subtype="FLOAT"))
    assert np.abs(extract(data) - alone).max() < 0.1
