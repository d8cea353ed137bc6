"""Test the demo corpus: every flaw is planted, counted and as described; the bytes are the same everywhere."""

import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo.composition import Balloon, count_balloons, write_alt
from demo.flaws import EXPECTED, ORIENTATIONS, PLANTINGS, Flaw, count_planted
from demo.kinds import KINDS, Manner, Place
from demo.media import Pixels, encode_jpeg, store_turned
from demo.motifs import MOTIFS
from demo.options import DemoOptions
from demo.pages import plan_lists
from demo.picture import draw_picture
from demo.plan import HOST, VAGUE_SHARE, Draw, Site, Thing, find_moved_path, make_rng, plan_site
from demo.scenery import PLACES
from demo.site import Response, render
from demo.sound import TIMBRES
from pipeline.ingest.params import IngestParams
from pipeline.ingest.read_page import read_page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SLOW = 0.3


def make_site(things: int = 60, seed: int = 0) -> Site:
    return plan_site(DemoOptions(things=things, seed=seed, slow_seconds=SLOW))


@pytest.fixture(scope="module")
def site() -> Site:
    return make_site()


@pytest.fixture(scope="module")
def files(site: Site) -> dict[str, Response]:
    return {path: render(site, path, attempt=1) for path in site.things_by_path}


def find_one(site: Site, flaw: Flaw) -> Thing:
    return site.find_flawed(flaw)[0]


def find_picture(site: Site, flaw: Flaw) -> str:
    picture = find_one(site, flaw).picture
    assert picture is not None
    return picture.path


def find_sound(site: Site, flaw: Flaw) -> str:
    sound = find_one(site, flaw).sound
    assert sound is not None
    return sound.path


def describe(thing: Thing) -> str:
    shown = thing.picture
    assert shown is not None
    return write_alt(shown.composition, thing.kind.place, shown.fog, shown.framed)


def decode_picture(data: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels | None:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if decoded is None else np.asarray(decoded, np.uint8)


class Links(HTMLParser):
    """The URLs that a page links to and embeds."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.caption = ""
        self.alts: list[str] = []
        self._in_caption = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.links += [named[name] for name in ("href", "src") if name in named]
        if "name" in named:
            self.metas[named["name"]] = named["content"]
        self.alts += [named["alt"]] if tag == "img" else []
        self._in_caption = tag == "figcaption"

    def handle_endtag(self, tag: str) -> None:
        self._in_caption = False

    def handle_data(self, data: str) -> None:
        self.caption += data if self._in_caption else ""


# The plan


def test_every_flaw_has_a_rate_and_an_expectation() -> None:
    assert set(EXPECTED) == set(PLANTINGS) == set(Flaw)
    assert sorted(ORIENTATIONS.values()) == list(range(1, 9))
    for expected in EXPECTED.values():
        assert (expected.fate == "dropped") == (expected.reason is not None)


@settings(max_examples=12)
@given(things=st.integers(60, 700), seed=st.integers(0, 2**32 - 1))
def test_the_planned_number_of_each_flaw_is_planted(things: int, seed: int) -> None:
    site = make_site(things, seed)
    assert len(site.things) == things
    assert site.count_flaws() == {flaw: count_planted(flaw, things) for flaw in Flaw}
    for thing in site.things:
        breaking = [flaw for flaw in thing.flaws if EXPECTED[flaw].loses_thing or EXPECTED[flaw].part == "page"]
        assert not breaking or len(thing.flaws) == 1
        if thing.copy_of is not None:
            original = site.things[thing.copy_of]
            assert original.flaws == ()
            assert original.kind is thing.kind


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_plan_is_a_function_of_the_seed(seed: int) -> None:
    assert make_site(60, seed) == make_site(60, seed)
    assert make_site(60, seed) != make_site(60, (seed + 1) % 2**32)


def test_captions_are_sentences_and_name_the_thing_only_where_clear() -> None:
    clear, shortest, longest = 0, 99, 0
    things = [thing for thing in make_site(5000).things if thing.caption and not thing.secrets]
    for thing in things:
        words = len(thing.caption.split())
        shortest, longest = min(shortest, words), max(longest, words)
        clear += any(noun in thing.caption.lower() for noun in thing.kind.nouns)
    assert shortest >= 8
    assert longest <= 25
    assert abs(clear / len(things) - (1 - VAGUE_SHARE)) < 0.05


def test_names_and_addresses_are_invented() -> None:
    for thing in make_site(600).things:
        for secret in thing.secrets:
            assert re.search(r"example\.org$", secret, re.I) or re.search(r"555.01\d\d$", secret), secret
            assert secret in thing.caption + thing.comment


def test_alt_texts_say_what_is_drawn_and_never_the_kind() -> None:
    things = [thing for thing in make_site(1200).things if thing.picture and thing.copy_of is None]
    alts = [describe(thing) for thing in things]
    assert len(set(alts)) > 0.8 * len(alts)
    names = {name for kind in KINDS for name in (kind.name, *kind.nouns)}
    assert not [name for name in names if re.search(rf"\b{name}\b", "\n".join(alts), re.IGNORECASE)]
    for thing, alt in zip(things, alts, strict=True):
        assert thing.picture is not None
        assert 5 <= len(alt.split()) <= 26
        assert ("something" in alt) == (thing.picture.fog is None)
        assert ("balloon" in alt) == (thing.picture.composition.balloons != ())


@pytest.mark.parametrize(
    ("balloons", "text"),
    [
        ([Balloon.RED], "one red balloon"),
        ([Balloon.BLUE, Balloon.BLUE], "two blue balloons"),
        ([Balloon.BLUE, Balloon.RED], "one red and one blue balloons"),
        ([Balloon.GREEN, Balloon.RED, Balloon.GREEN, Balloon.PURPLE], "one red, two green and one purple balloons"),
    ],
)
def test_balloons_are_counted_by_colour(balloons: list[Balloon], text: str) -> None:
    assert count_balloons(tuple(balloons)) == text


def test_place_and_manner_together_name_a_kind() -> None:
    assert len({(kind.place, kind.manner) for kind in KINDS}) == len(KINDS) == len({kind.name for kind in KINDS}) == 12
    assert set(MOTIFS) == {kind.name for kind in KINDS}
    assert set(TIMBRES) == {kind.name for kind in KINDS} | set(Manner)
    assert set(PLACES) == set(Place)


def test_every_kind_has_as_many_things() -> None:
    counts = {
        kind.name: sum(thing.kind is kind and thing.copy_of is None for thing in make_site(600).things)
        for kind in KINDS
    }
    assert max(counts.values()) - min(counts.values()) <= 8


# The pages


def test_following_links_finds_every_thing(site: Site, files: dict[str, Response]) -> None:
    seen: dict[str, int] = {}
    waiting, away = ["/"], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        response = files[path] if path in files else render(site, path, attempt=1)
        seen[path] = response.status
        if response.status == 301:
            waiting.append(dict(response.headers)["Location"])
        if dict(response.headers)["Content-Type"].startswith("text/html") and response.status == 200:
            links = Links(response.body).links
            away |= {link for link in links if not link.startswith("/")}
            waiting += [link for link in links if link.startswith("/")]
    assert set(site.things_by_path) <= set(seen)
    assert set(site.offsite_links) <= away
    missing = [path for path, status in seen.items() if status == 404]
    assert missing == [find_sound(site, Flaw.BROKEN_SOUND_LINK)]


def test_a_page_connects_its_files_to_kind_caption_and_licence(site: Site, files: dict[str, Response]) -> None:
    for thing in site.things:
        page = Links(files[thing.page].body)
        assert page.caption == thing.caption
        assert page.metas["kind"] == thing.kind.name
        assert page.metas["author"] == thing.author
        assert (thing.picture is None) == (Flaw.NO_PICTURE in thing.flaws)
        assert (thing.sound is None) == (Flaw.NO_SOUND in thing.flaws)
        assert page.alts == ([describe(thing)] if thing.picture else [])
        shown = {part.path for part in (thing.picture, thing.sound) if part}
        assert {link for link in page.links if re.match("/(pictures|sounds)/", link)} == shown


def test_the_pipeline_finds_the_alt_text_of_an_image_and_the_caption_of_the_page(
    site: Site, files: dict[str, Response]
) -> None:
    params = IngestParams(page_text="figcaption", figures=True)
    for thing in site.things[:20]:
        url = f"http://{HOST}{thing.page}"
        page = read_page(files[thing.page].body, params, url, "text/html")
        assert page.text == thing.caption
        alts = [(figure.rule, figure.caption) for figure in page.figures]
        assert alts == ([("alt", describe(thing))] if thing.picture else [])


def test_robots_forbids_the_locked_drawer(site: Site) -> None:
    from protego import Protego

    robots = Protego.parse(render(site, "/robots.txt").body.decode())
    for thing in site.things:
        allowed = robots.can_fetch(f"http://{HOST}{thing.page}", "shardwright")
        assert allowed == (Flaw.FORBIDDEN_PAGE not in thing.flaws)


# The files


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


# Bytes

HASH_THE_SITE = """
from tests.demo.test_demo import hash_site, make_site
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
