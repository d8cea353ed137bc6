"""Render the site's response to a path, on each request and without storing it."""

from dataclasses import dataclass

import cv2
import numpy as np

from demo import pages
from demo.exif import encode_exif, insert_png_text, insert_segment
from demo.flaws import ORIENTATIONS, Flaw
from demo.media import Pixels, encode_jpeg, encode_ogg, encode_png, encode_wav, store_turned
from demo.picture import draw_picture
from demo.plan import Draw, Picture, Site, Sound, Thing, find_moved_path, make_rng
from demo.sound import Span, add_place, make_sound

HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
CONTENT_TYPES = {"jpg": "image/jpeg", "png": "image/png", "wav": "audio/wav", "ogg": "audio/ogg"}

CUT_SHARE = 0.6
"""The share of a truncated file that remains."""
TINY_SIZE = 4
"""Width and height in pixels of a tiny picture."""
POINT_NEMO = (-48.8767, -123.3933)
"""The GPS position of every photograph, within a degree: the point of the ocean farthest from all land."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the server, sent after `delay` seconds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    delay: float = 0.0


def render(site: Site, path: str, attempt: int = 0) -> Response:
    """Return the response to a GET of `path`; `attempt` counts earlier requests, for URLs that fail only once."""
    if path == "/":
        return answer_html(pages.write_front(site))
    if path == "/robots.txt":
        return Response(200, (("Content-Type", TEXT),), pages.write_robots().encode())
    if path.startswith("/kinds/"):
        listed = pages.plan_lists(site).get(path)
        return answer_html(pages.write_list(*listed)) if listed else answer_error(404, "Not found")
    thing = site.things_by_path.get(path)
    if thing is None:
        return answer_error(404, "Not found")
    if path == thing.page:
        return answer_html(pages.write_thing(thing))
    if thing.sound and path == thing.sound.path:
        return answer_sound(site, thing, thing.sound)
    assert thing.picture  # the only path left
    return answer_picture(site, thing, path, attempt)


def answer_html(text: str) -> Response:
    """Return the response with a page."""
    return Response(200, (("Content-Type", HTML),), text.encode())


def answer_error(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return an error response with a page that names it."""
    return Response(status, (("Content-Type", HTML), *headers), pages.write_error(status, message).encode())


def answer_picture(site: Site, thing: Thing, path: str, attempt: int) -> Response:
    """Return the response for a picture, with its flaws."""
    assert thing.picture
    if Flaw.FAILING_PICTURE in thing.flaws:
        return answer_error(500, "Something broke")
    if Flaw.FLAKY_PICTURE in thing.flaws and attempt == 0:
        return answer_error(503, "Come back in a moment", ("Retry-After", "0"))
    if Flaw.MOVED_PICTURE in thing.flaws and path == thing.picture.path:
        return answer_error(301, "Moved", ("Location", find_moved_path(thing.picture)))
    headers = [("Content-Type", CONTENT_TYPES[path.rpartition(".")[2]])]
    if Flaw.NOAI_PICTURE in thing.flaws:
        headers.append(("X-Robots-Tag", "noai"))
    delay = site.slow_seconds if Flaw.SLOW_PICTURE in thing.flaws else 0.0
    return Response(200, tuple(headers), render_picture(site, thing, thing.picture), delay)


def answer_sound(site: Site, thing: Thing, sound: Sound) -> Response:
    """Return the response for a sound, with its flaws."""
    if Flaw.BROKEN_SOUND_LINK in thing.flaws:
        return answer_error(404, "Not found")
    headers = (("Content-Type", CONTENT_TYPES[sound.format]),)
    return Response(200, headers, render_sound(site, thing, sound))


def find_source(site: Site, thing: Thing) -> Thing:
    """Return the thing whose picture and sound this one has: itself, or the original of a duplicate."""
    return thing if thing.copy_of is None else site.things[thing.copy_of]


def render_picture(site: Site, thing: Thing, picture: Picture) -> bytes:
    """Render the picture's file with its flaws."""
    if Flaw.HTML_AS_JPEG in thing.flaws:
        return pages.write_error(200, "This picture is being restored").encode()
    source = find_source(site, thing)
    drawn = draw_picture(source.kind, source.picture or picture, make_rng(site.seed, source.number, Draw.PICTURE))
    if (picture.height, picture.width) != drawn.shape[:2]:
        drawn = np.asarray(cv2.resize(drawn, (picture.width, picture.height), interpolation=cv2.INTER_AREA), np.uint8)
    pixels = spoil_pixels(drawn, thing)
    if picture.format == "png":
        data = encode_png(pixels)
        data = insert_png_text(data, "Comment", thing.comment) if Flaw.PNG_TEXT in thing.flaws else data
    else:
        data = encode_jpeg(pixels, 78 if Flaw.NEAR_DUPLICATE in thing.flaws else 90)
        data = add_jpeg_metadata(data, thing)
    truncated = {Flaw.TRUNCATED_JPEG, Flaw.TRUNCATED_PNG} & set(thing.flaws)
    return cut(data) if truncated else data


def spoil_pixels(pixels: Pixels, thing: Thing) -> Pixels:
    """Return the pixels to store: turned, tiny or flat if that is the thing's flaw."""
    for flaw in thing.flaws:
        if flaw in ORIENTATIONS:
            return store_turned(pixels, ORIENTATIONS[flaw])
        if flaw is Flaw.TINY_PICTURE:
            return np.ascontiguousarray(
                pixels[:: len(pixels) // TINY_SIZE, :: len(pixels[0]) // TINY_SIZE][:TINY_SIZE, :TINY_SIZE]
            )
        if flaw is Flaw.FLAT_PICTURE:
            return np.broadcast_to(pixels[0, 0], pixels.shape).copy()
    return pixels


def add_jpeg_metadata(jpeg: bytes, thing: Thing) -> bytes:
    """Return the JPEG with the comment and the EXIF block of its flaws."""
    if Flaw.JPEG_COMMENT in thing.flaws:
        jpeg = insert_segment(jpeg, 0xFE, thing.comment.encode())
    orientation = next((ORIENTATIONS[flaw] for flaw in thing.flaws if flaw in ORIENTATIONS), None)
    position = None
    if Flaw.EXIF_GPS in thing.flaws:
        position = (POINT_NEMO[0] + thing.number % 10 / 10, POINT_NEMO[1] + thing.number % 7 / 7)
    if orientation is None and position is None:
        return jpeg
    return insert_segment(jpeg, 0xE1, encode_exif(orientation, position))


def render_sound(site: Site, thing: Thing, sound: Sound) -> bytes:
    """Render the sound's file with its flaws."""
    if Flaw.TEXT_AS_WAV in thing.flaws:
        return b"The recording of this thing was lent to a school and has not come back.\n"
    source = find_source(site, thing)
    span = Span(sound.rate, int(sound.seconds * sound.rate), make_rng(site.seed, source.number, Draw.SOUND))
    name = sound.distant or source.kind.name
    samples = add_place(make_sound(name, span), span, sound.channels)
    if Flaw.SILENT_SOUND in thing.flaws:
        samples[:] = 0
    if Flaw.NEAR_DUPLICATE in thing.flaws:
        samples *= 0.9
    if sound.format == "wav":
        data = encode_wav(samples, sound.rate)
    else:
        data = encode_ogg(samples, sound.rate, thing.comment if Flaw.OGG_COMMENT in thing.flaws else "")
    truncated = {Flaw.TRUNCATED_WAV, Flaw.TRUNCATED_OGG} & set(thing.flaws)
    return cut(data) if truncated else data


def cut(data: bytes) -> bytes:
    """Return the first part of a file, as after an incomplete transfer."""
    return data[: int(len(data) * CUT_SHARE)]
