"""A manual's images end in samples with the captions that stand beside them; its logos and icons do not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.contracts import CLEANED, DROPPED, ITEMS, PARTS, SAMPLES
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table
from tests.support.factory_media import encode_png
from tests.support.loopback import Reply, page, serve
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow

PAGES = 24
HOST = "manual.test"
FORMS = (
    '<figure><img src="img/{name}.png"><figcaption>{caption}</figcaption></figure>',
    '<div class="figure"><p><img src="blank.gif" data-src="img/{name}.png"></p><p class="caption">{caption}</p></div>',
    '<div class="mediaobject"><img src="img/small.png" srcset="img/{name}.png 800w" alt="{caption}"></div>',
    '<div class="thumb"><a><img src="img/{name}.png"></a><div class="thumbcaption">{caption}</div></div>',
    '<h2>{caption}</h2><p><img src="img/{name}.png"></p>',
    '<picture><source srcset="img/{name}.webp"><img src="img/{name}.png" alt="{caption}"></picture>',
)
"""How manuals write an image and its caption."""

FURNITURE = ("logo", "home", "previous", "next", "note")


def draw(seed: int, side: int = 48) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encode_png(pixels)


def name_image(number: int, form: int) -> str:
    return f"p{number}-{form}"


def describe(number: int, form: int) -> str:
    return f"the dialog {number} with its tab {form}"


def write_page(number: int) -> Reply:
    icons = "".join(f'<a href="p{number}.html"><img src="icons/{name}.png" alt="{name}"></a>' for name in FURNITURE)
    figures = "".join(
        text.format(name=name_image(number, form), caption=describe(number, form)) for form, text in enumerate(FORMS)
    )
    pixel = f'<img src="count/{number}.png" alt="counter">'
    return page(f"<header>{icons}</header><h1>Chapter {number}</h1>{figures}{pixel}", '<meta name="kind" content="ui">')


def make_routes() -> dict[str, Reply]:
    routes = {"/": page("".join(f'<a href="p{n}.html">{n}</a>' for n in range(PAGES)))}
    routes |= {f"/p{number}.html": write_page(number) for number in range(PAGES)}
    routes |= {f"/icons/{name}.png": Reply(draw(900 + n)) for n, name in enumerate(FURNITURE)}
    routes |= {f"/count/{number}.png": Reply(draw(950 + number, 16)) for number in range(PAGES)}
    for number in range(PAGES):
        for form in range(len(FORMS)):
            routes[f"/img/{name_image(number, form)}.png"] = Reply(draw(number * 10 + form))
    return routes


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Outcome]]]:
    folder = tmp_path_factory.mktemp("manual")
    (folder / "inbox").mkdir()
    with serve(make_routes()) as site:
        blocks = edit_params(
            crawl__start=[f"http://{HOST}/"],
            crawl__hosts={HOST: site.address},
            ingest__root=str(folder / "inbox"),
            ingest__figures=True,
            ingest__page_text=None,
        )
        parts = {"image": {}, "caption": {"modality": "text", "many": "each"}}
        blocks["align"] = {"by": "figure", "label": "page", "parts": parts, "max_dropped": 1.0}
        yield folder / "data", run_stages(blocks, folder, until="align")


def test_captioned_images_end_in_samples_with_their_own_caption(manual: tuple[Path, dict[str, Outcome]]) -> None:
    data, _ = manual
    items = read_table(data / "2_ingested/items", ITEMS)
    cleaned = {row["item"]: row for row in read_table(data / "3_cleaned/items", CLEANED)}
    samples = read_table(data / "4_aligned/samples", SAMPLES)
    found: list[dict[str, int]] = [{} for _ in samples]
    for row in read_table(data / "4_aligned/parts", PARTS):
        found[row["sample"]][row["part"]] = row["item"]
    with TarReader(data) as reader:
        pairs = {
            items[parts["image"]]["file"]: reader.read(read_location(cleaned[parts["caption"]])).decode()
            for parts in found
        }
    expected = {
        f"img/{name_image(number, form)}.png": describe(number, form)
        for number in range(PAGES)
        for form in range(len(FORMS))
    }
    assert pairs == expected
    assert {sample["label"] for sample in samples} == {"ui"}


def test_what_belongs_to_the_site_is_a_row(manual: tuple[Path, dict[str, Outcome]]) -> None:
    data, outcomes = manual
    rows = read_table(data / "4_aligned/dropped", DROPPED)
    furniture = {row["key"]: row["setting"] for row in rows if row["reason"] == "page_furniture"}
    assert furniture == {f"{HOST}:icons/{name}.png": "align.max_pages" for name in FURNITURE} | {
        f"{HOST}:count/{number}.png": "align.min_side" for number in range(PAGES)
    }
    for outcome in outcomes.values():
        outcome.check()
