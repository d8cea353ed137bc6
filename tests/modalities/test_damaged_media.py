"""Damaged images, recordings and videos: checked and extracted to a verdict each, never an exception."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.clean.params import CleanParams
from pipeline.config.check_params import check_block, read_params
from pipeline.extract.params import ExtractParams
from pipeline.formats.audio import ogg, wav
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image import png
from pipeline.modalities.image.pixels import decode_pixels
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.modalities.table import MODALITIES
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_media import (
    build_png,
    draw_scene,
    encode_audio,
    encode_jpeg,
    encode_png,
    insert_chunks,
    make_chunk,
    make_tone,
)
from tests.support.factory_video import make_dirty_videos

pytestmark = pytest.mark.slow

BLOCKS = read_params(Path(__file__).parents[2] / "params.yaml")
CHECKS = check_block(BLOCKS, "clean", CleanParams).checks
FEATURES = check_block(BLOCKS, "extract", ExtractParams).features
SPANS = [(None, None), (0.1, 0.2), (0.25, 5.0)]


def judge(data: bytes, media_type: str, span: tuple[float | None, float | None] = (None, None)) -> bool:
    """Check, and extract what was kept; whether it was. What was kept once is kept as it is the second time."""
    name = media_type.partition("/")[0]
    modality = MODALITIES[name]
    checked = modality.check(data, media_type, CHECKS[name])
    if not isinstance(checked, Checked):
        return False
    modality.extract(
        MediaItem(checked.data, media_type, checked.facts.get("orientation", 1), *span), FEATURES[name], None
    )
    again = modality.check(checked.data, media_type, CHECKS[name])
    assert isinstance(again, Checked)
    assert again.data == checked.data
    return True


def make_files() -> dict[str, list[bytes]]:
    files = {media_type: [data] for media_type, data in {**make_dirty_files(), **make_dirty_videos()}.items()}
    files["image/png"].append(encode_png(np.dstack([draw_scene(), draw_scene()[:, :, :1]])))
    files["image/jpeg"].append(encode_jpeg(draw_scene(), progressive=True))
    files["audio/wav"].append(encode_audio(make_tone(8000, 0.3), 8000, "RF64"))
    return files


def damage(data: bytes, draw: random.Random) -> bytes:
    """Flip, cut, insert, and write lengths that are wrong; mostly near the beginning, where the headers are."""
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        at = draw.randrange(max(1, min(len(damaged), draw.choice([64, 200, len(data), len(data)]))))
        match draw.randrange(5):
            case 0:
                damaged[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del damaged[at : at + draw.choice([1, 2, 8, 500])]
            case 2:
                damaged[at:at] = draw.randbytes(draw.choice([1, 4, 16]))
            case 3:
                number = draw.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, draw.randrange(2**32)])
                damaged[at : at + 4] = struct.pack(draw.choice("<>") + "I", number)
            case 4 if draw.random() < 0.3:
                del damaged[at:]
    return bytes(damaged)


def mend_png(data: bytes) -> bytes:
    """With right checksums, so that the damage comes through to the decoder."""
    mended = bytearray(data)
    at = 8
    while at + 12 <= len(mended) and at + 12 + (length := struct.unpack_from(">I", mended, at)[0]) <= len(mended):
        struct.pack_into(">I", mended, at + 8 + length, zlib.crc32(mended[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(mended)


def mend_ogg(data: bytes) -> bytes:
    mended = bytearray(data)
    at = 0
    while at + 27 <= len(mended) and mended[at : at + 4] == b"OggS":
        end = at + 27 + mended[at + 26] + sum(mended[at + 27 : at + 27 + mended[at + 26]])
        mended[at + 22 : at + 26] = bytes(4)
        struct.pack_into("<I", mended, at + 22, ogg.compute_crc(bytes(mended[at:end])))
        at = end
    return bytes(mended)


MEND: dict[str, Callable[[bytes], bytes]] = {"image/png": mend_png, "audio/ogg": mend_ogg}


def run_damaged(media_type: str, count: int, seed: int) -> int:
    draw = random.Random(seed)
    files = make_files()[media_type]
    kept = 0
    for _ in range(count):
        data = damage(draw.choice(files), draw)
        if draw.random() < 0.7:
            data = MEND.get(media_type, bytes)(data)
        kept += judge(data, media_type, draw.choice(SPANS))
    return kept


@pytest.mark.parametrize("media_type", make_files())
def test_damage_is_a_verdict(media_type: str) -> None:
    assert run_damaged(media_type, 120, 0) > 0


@pytest.mark.sweep
@pytest.mark.parametrize("media_type", make_files())
def test_much_damage_is_a_verdict(media_type: str) -> None:
    assert run_damaged(media_type, 50_000, 1) > 0


ALIKE = (
    {"video/webm", "video/x-matroska"},  # one is a kind of the other
    {"audio/ogg", "audio/ogg; codecs=opus"},  # and these are of one parser
)


@pytest.mark.parametrize("media_type", make_files())
@pytest.mark.parametrize("name", make_files())
def test_a_file_under_another_type(media_type: str, name: str) -> None:
    same = name == media_type or any({name, media_type} == alike for alike in ALIKE)
    same |= (media_type, name) == ("video/mp4", "audio/mp4")  # whose audio is read
    assert judge(make_files()[media_type][0], name) is same


def test_a_wav_header_that_says_nothing_is_a_fault() -> None:
    data = bytearray(encode_audio(make_tone(8000, 0.3), 8000, "WAV"))
    at = data.index(b"fmt ") + 8
    data[at + 12 : at + 16] = bytes(4)  # no bits, blocks of no bytes
    with pytest.raises(FormatFault, match="are 0"):
        wav.read_header(bytes(data))


def test_rf64_is_kept() -> None:
    data = encode_audio(make_tone(8000, 0.3), 8000, "RF64")
    assert judge(data, "audio/wav")
    stripped = wav.strip_metadata(data)
    assert np.array_equal(soundfile.read(io.BytesIO(stripped))[0], soundfile.read(io.BytesIO(data))[0])


GAMMA = make_chunk(b"gAMA", struct.pack(">I", 45455))
SRGB = make_chunk(b"sRGB", b"\0")
SIZE = make_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))


def test_png_chunks_that_stand_where_they_may_not_go() -> None:
    """libpng ignores them, and writes a line about each to the terminal."""
    rows = np.random.default_rng(0).integers(0, 4, (20, 21), np.uint8)
    rows[:, 0] = 0
    palette = make_chunk(b"PLTE", bytes(range(0, 240, 20)))
    shine = make_chunk(b"tRNS", b"\x80\xff")
    good = build_png((20, 20), 8, 3, rows.tobytes(), GAMMA, palette, shine, SIZE)
    assert png.strip_metadata(good) is good
    bad = build_png((20, 20), 8, 3, rows.tobytes(), GAMMA, GAMMA, palette, SRGB, shine, SIZE, SIZE)
    assert png.strip_metadata(bad) == good
    early = build_png((20, 20), 8, 3, rows.tobytes(), shine, palette)
    assert png.read_header(early).channels == 3
    late = encode_png(draw_scene())
    end = late.index(b"IEND") - 4
    assert png.strip_metadata(late[:end] + SRGB + SIZE + late[end:]) == late
    pixels, stripped = decode_pixels(bad), decode_pixels(good)
    assert pixels is not None
    assert stripped is not None
    assert np.array_equal(pixels, stripped)


def test_png_with_its_chunks_in_place_stays() -> None:
    data = insert_chunks(encode_png(draw_scene()), GAMMA, SRGB, SIZE)
    assert png.strip_metadata(data) is data
