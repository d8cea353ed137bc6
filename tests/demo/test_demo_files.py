"""The files of the demo are what the plan says, broken where it says so, and the same bytes everywhere."""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from PIL import Image

from demo.flaws import EXPECTED, ORIENTATIONS, Flaw
from demo.media import encode_jpeg, store_turned
from demo.pages import plan_lists
from demo.picture import draw_picture
from demo.plan import Draw, Site, find_moved_path, make_rng
from demo.site import Response, render
from tests.demo.demo_site import SLOW, decode_picture, find_one, find_picture, find_sound

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_sound_files_are_what_the_plan_says(site: Site, files: dict[str, Response]) -> None:
    assert {thing.sound.rate for thing in site.things if thing.sound} == {8000, 16000, 22050, 44100}
    for thing in site.things:
        if thing.sound is None or any(
            EXPECTED[flaw].part == "sound" and EXPECTED[flaw].loses_thing for flaw in thing.flaws
        ):
            continue
        data = files[thing.sound.path].body
        assert data[:4] == (b"RIFF" if thing.sound.format == "wav" else b"OggS")
        samples, rate = soundfile.read(io.BytesIO(data), always_2d=True)
        assert (rate, samples.shape[1]) == (thing.sound.rate, thing.sound.channels)
        assert len(samples) == int(thing.sound.seconds * rate)
        assert 0.05 < np.abs(samples).max() <= 1.1  # Vorbis may overshoot a little


def test_picture_files_are_what_the_plan_says(site: Site, files: dict[str, Response]) -> None:
    assert {thing.picture.framed for thing in site.things if thing.picture} == {True, False}
    for thing in site.things:
        if thing.picture is None or thing.lost or Flaw.MOVED_PICTURE in thing.flaws:
            continue
        data = files[thing.picture.path].body
        assert data[:3] == (b"\xff\xd8\xff" if thing.picture.format == "jpeg" else b"\x89PN")
        unchanged = decode_picture(data, cv2.IMREAD_UNCHANGED)
        assert unchanged is not None
        upright = decode_picture(data)
        assert upright is not None
        assert upright.shape == (thing.picture.height, thing.picture.width, 3)
        assert upright.std() > 5
        assert (unchanged.shape[2] == 4) == thing.picture.framed


@pytest.mark.parametrize("flaw", ORIENTATIONS)
def test_a_turned_picture_is_upright_once_its_orientation_is_applied(
    flaw: Flaw, site: Site, files: dict[str, Response]
) -> None:
    thing = find_one(site, flaw)
    assert thing.picture is not None
    data = files[thing.picture.path].body
    assert Image.open(io.BytesIO(data)).getexif()[0x0112] == ORIENTATIONS[flaw]
    drawn = draw_picture(thing.kind, thing.picture, make_rng(site.seed, thing.number, Draw.PICTURE))
    upright = decode_picture(data)
    assert upright is not None
    loss = np.abs(upright[..., ::-1].astype(int) - drawn).mean()
    unturned = decode_picture(encode_jpeg(drawn, 90))
    assert unturned is not None
    assert loss < 1.1 * np.abs(unturned[..., ::-1].astype(int) - drawn).mean()
    stored = decode_picture(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert stored is not None
    if ORIENTATIONS[flaw] > 1:
        assert stored.shape != upright.shape or np.abs(stored.astype(int) - upright).mean() > 2 * loss


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_loses_no_pixel(orientation: int) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    turned = store_turned(pixels, orientation)
    assert turned.shape == ((3, 2, 3) if orientation >= 5 else (2, 3, 3))
    assert sorted(turned.reshape(-1, 3).tolist()) == pixels.reshape(-1, 3).tolist()


def test_files_have_gps_positions_and_comments(site: Site, files: dict[str, Response]) -> None:
    gps = Image.open(io.BytesIO(files[find_picture(site, Flaw.EXIF_GPS)].body)).getexif().get_ifd(0x8825)
    assert gps[1] == "S"
    assert gps[3] == "W"
    assert 40 < float(gps[2][0]) < 50
    commented = find_one(site, Flaw.JPEG_COMMENT)
    assert commented.picture is not None
    assert Image.open(io.BytesIO(files[commented.picture.path].body)).info["comment"] == commented.comment.encode()
    noted = find_one(site, Flaw.PNG_TEXT)
    assert noted.picture is not None
    assert Image.open(io.BytesIO(files[noted.picture.path].body)).info["Comment"] == noted.comment
    tagged = find_one(site, Flaw.OGG_COMMENT)
    assert tagged.sound is not None
    with soundfile.SoundFile(io.BytesIO(files[tagged.sound.path].body)) as file:
        assert file.comment == tagged.comment


def test_broken_pictures_are_broken(site: Site, files: dict[str, Response]) -> None:
    jpeg, png = files[find_picture(site, Flaw.TRUNCATED_JPEG)].body, files[find_picture(site, Flaw.TRUNCATED_PNG)].body
    assert jpeg.startswith(b"\xff\xd8\xff")
    assert not jpeg.endswith(b"\xff\xd9")
    assert png.startswith(b"\x89PNG")
    assert b"IEND" not in png
    html = files[find_picture(site, Flaw.HTML_AS_JPEG)]
    assert html.status == 200
    assert dict(html.headers)["Content-Type"] == "image/jpeg"
    assert html.body.startswith(b"<!DOCTYPE html>")
    renamed = files[find_picture(site, Flaw.PNG_NAMED_JPEG)]
    assert dict(renamed.headers)["Content-Type"] == "image/jpeg"
    assert renamed.body.startswith(b"\x89PNG")
    tiny, flat = (decode_picture(files[find_picture(site, f)].body) for f in (Flaw.TINY_PICTURE, Flaw.FLAT_PICTURE))
    assert tiny is not None
    assert tiny.shape == (4, 4, 3)
    assert flat is not None
    assert flat.std(axis=(0, 1)).max() < 1


def test_broken_sounds_are_broken(site: Site, files: dict[str, Response]) -> None:
    wav = files[find_sound(site, Flaw.TRUNCATED_WAV)].body
    assert int.from_bytes(wav[4:8], "little") + 8 > len(wav)
    ogg = files[find_sound(site, Flaw.TRUNCATED_OGG)].body
    pages = [match.start() for match in re.finditer(b"OggS", ogg)]
    assert len(pages) > 3  # some audio remains, and no page is marked as the last
    assert not any(ogg[page + 5] & 4 for page in pages)
    text = files[find_sound(site, Flaw.TEXT_AS_WAV)]
    assert dict(text.headers)["Content-Type"] == "audio/wav"
    assert text.body.isascii()
    silent, _ = soundfile.read(io.BytesIO(files[find_sound(site, Flaw.SILENT_SOUND)].body))
    assert np.abs(silent).max() < 1e-4
    assert find_one(site, Flaw.EMPTY_CAPTION).caption == ""


def test_flawed_responses(site: Site, files: dict[str, Response]) -> None:
    assert files[find_picture(site, Flaw.FAILING_PICTURE)].status == 500
    assert files[find_sound(site, Flaw.BROKEN_SOUND_LINK)].status == 404
    assert ("X-Robots-Tag", "noai") in files[find_picture(site, Flaw.NOAI_PICTURE)].headers
    assert files[find_picture(site, Flaw.SLOW_PICTURE)].delay == SLOW
    flaky = find_picture(site, Flaw.FLAKY_PICTURE)
    first, second = render(site, flaky, attempt=0), render(site, flaky, attempt=1)
    assert (first.status, second.status) == (503, 200)
    assert ("Retry-After", "0") in first.headers
    moved = find_one(site, Flaw.MOVED_PICTURE).picture
    assert moved is not None
    assert files[moved.path].status == 301
    assert ("Location", find_moved_path(moved)) in files[moved.path].headers
    assert files[find_moved_path(moved)].status == 200


def test_duplicates_are_duplicates(files: dict[str, Response], site: Site) -> None:
    for thing in site.things:
        if thing.copy_of is None:
            continue
        original = site.things[thing.copy_of]
        assert original.picture
        assert thing.picture
        assert original.sound
        assert thing.sound
        pictures = [files[part.path].body for part in (original.picture, thing.picture)]
        sounds = [files[part.path].body for part in (original.sound, thing.sound)]
        if Flaw.EXACT_DUPLICATE in thing.flaws:
            assert pictures[0] == pictures[1]
            assert sounds[0] == sounds[1]
            assert thing.caption == original.caption
            continue
        assert pictures[0] != pictures[1]
        assert sounds[0] != sounds[1]
        assert thing.caption != original.caption
        assert re.findall(r"\w+", thing.caption.lower()) == re.findall(r"\w+", original.caption.lower())
        small = [cv2.resize(cv2.imdecode(np.frombuffer(p, np.uint8), 1), (16, 16), interpolation=3) for p in pictures]
        assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.99
        heard = [soundfile.read(io.BytesIO(sound), always_2d=True)[0][:, 0] for sound in sounds]
        assert np.corrcoef(*heard)[0, 1] > 0.95


HASH_THE_SITE = """
from tests.demo.demo_site import SLOW, make_site
from tests.demo.test_demo_files import hash_site
print(hash_site(make_site(), {}))
"""


def hash_site(site: Site, files: Mapping[str, Response]) -> str:
    """Return a hash of all things and responses; `files` are those that are rendered already."""
    digest = hashlib.sha256(repr(site.things).encode())
    for path in ["/", "/robots.txt", *plan_lists(site), *site.things_by_path]:
        digest.update(repr(files.get(path) or render(site, path, attempt=1)).encode())
    return digest.hexdigest()


def test_the_same_bytes_in_every_process(site: Site, files: dict[str, Response]) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8"}
    command = [sys.executable, "-c", HASH_THE_SITE]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == hash_site(site, files)
