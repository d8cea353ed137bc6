"""Write the HTML of the site: a front page, a list of each kind in pages, and a page for each thing.

A thing's page connects its files: `main img`, whose `alt` says what is drawn, and `main figure` with `audio` and the
collector's words as its `figcaption`. The kind is in `<meta name="kind">`, the author in `<meta name="author">` and
`p.attribution`, the licence in `rel="license"`.
"""

from html import escape
from textwrap import shorten

from demo.composition import write_alt
from demo.kinds import KINDS, Kind
from demo.plan import Site, Thing
from demo.signs import draw_sign

PAGE_LENGTH = 60
"""Things on one page of a kind's list. A crawl goes level by level, so few long pages keep all its connections busy."""

TITLE = "A cabinet of sounding things"

LICENCE_URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}

STYLE = """
:root { --ink: #2d2a26; --soft: #857c70; --paper: #f7f2e8; --card: #fffdf8; --line: #e4dac8; --mark: #b4552d }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ece5d8; --soft: #a3988a; --paper: #201e1b; --card: #2b2824; --line: #423c35; --mark: #e08a5c }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 17px/1.55 Georgia, "Iowan Old Style", serif }
main, header, footer { max-width: 46rem; margin: 0 auto; padding: 1rem 1.25rem }
header { padding-top: 2rem; font-size: .9rem; color: var(--soft) }
footer { padding-bottom: 3rem; font-size: .85rem; color: var(--soft) }
h1 { font-weight: 400; font-size: 2rem; line-height: 1.2; margin: .5rem 0 1rem }
a { color: var(--mark); text-decoration-thickness: 1px; text-underline-offset: 3px }
figure, ul.kinds a { background: var(--card); border: 1px solid var(--line); border-radius: 12px }
figure { margin: 1.5rem 0; padding: 1.25rem }
main img { display: block; max-width: 100%; margin: 0 auto; border-radius: 8px }
figure audio { display: block; width: 100%; margin-bottom: 1rem }
figcaption { font-style: italic; font-size: 1.1rem }
ul.kinds { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)) }
ul.kinds { list-style: none; padding: 0 }
ul.kinds a { display: block; padding-bottom: .5rem; text-align: center; text-decoration: none; color: inherit }
ul.kinds a:hover { border-color: var(--mark) }
ul.kinds span { display: block; aspect-ratio: 4 / 3; margin-bottom: .4rem }
ul.kinds span { border-radius: 11px 11px 0 0; background-size: cover }
ol.things { padding-left: 0; list-style: none; columns: 2 16rem }
ol.things li { padding: .2rem 0; break-inside: avoid; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }
nav.pages { display: flex; justify-content: space-between; padding: 1rem 0 }
""".strip()


def find_list_path(kind: Kind, page: int) -> str:
    """Return the path of one page of a kind's list; the first page is 1."""
    return f"/kinds/{kind.name}.html" if page == 1 else f"/kinds/{kind.name}-{page}.html"


def plan_lists(site: Site) -> dict[str, tuple[Kind, int, list[Thing], int]]:
    """Return every list page by its path: the kind, the page's number, its things, and the number of pages."""
    lists = {}
    for kind in KINDS:
        things = [thing for thing in site.things if thing.kind is kind]
        pages = range(0, len(things), PAGE_LENGTH)
        for number, start in enumerate(pages, 1):
            lists[find_list_path(kind, number)] = (kind, number, things[start : start + PAGE_LENGTH], len(pages))
    return lists


def write_page(title: str, crumbs: str, main: str, head: str = "") -> str:
    """Write an HTML document around a `main` element."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
{head}<style>
{STYLE}
</style>
</head>
<body>
<header><nav aria-label="breadcrumb">{crumbs}</nav></header>
<main>
{main}
</main>
<footer>Generated from a seed: nothing here was ever alive, and every name is invented.</footer>
</body>
</html>
"""


def write_front(site: Site) -> str:
    """Write the front page: a card a kind, links to the private things, and links to other hosts."""
    cards = "\n".join(write_card(kind) for kind in KINDS)
    away = "\n".join(f'<p>Friends: <a href="{escape(link)}">other cabinets</a></p>' for link in site.offsite_links)
    drawer = " ".join(
        f'<a href="{thing.page}">{thing.number}</a>' for thing in site.things if thing.page.startswith("/private/")
    )
    return write_page(
        TITLE,
        TITLE,
        f"<h1>{TITLE}</h1>\n"
        f"<p>{len(site.things)} things that make themselves heard. Each is drawn, sounded and described by a small "
        "program, on good days and in the fog. Open a drawer:</p>\n"
        f'<ul class="kinds">\n{cards}\n</ul>\n<p>The locked drawer, not for machines: {drawer}</p>\n{away}',
    )


def write_card(kind: Kind) -> str:
    """Write the card of a kind on the front page."""
    sign = f'<span style="background-image: url({draw_sign(kind)})"></span>'
    return f'<li><a href="{find_list_path(kind, 1)}">{sign}{kind.name}</a></li>'


def write_list(kind: Kind, number: int, things: list[Thing], pages: int) -> str:
    """Write one page of the list of a kind's things."""
    rows = "\n".join(
        f'<li><a href="{thing.page}">No. {thing.number}</a> {escape(shorten(thing.caption, 34, placeholder="…"))}</li>'
        for thing in things
        if not thing.page.startswith("/private/")
    )
    before = f'<a rel="prev" href="{find_list_path(kind, number - 1)}">← before</a>' if number > 1 else "<span></span>"
    after = f'<a rel="next" href="{find_list_path(kind, number + 1)}">more →</a>' if number < pages else "<span></span>"
    return write_page(
        f"{kind.name}, page {number} · {TITLE}",
        f'<a href="/">Cabinet</a> / {kind.name}',
        f'<h1>{kind.name}</h1>\n<ol class="things">\n{rows}\n</ol>\n'
        f'<nav class="pages">{before}<span>{number} of {pages}</span>{after}</nav>',
    )


def write_thing(thing: Thing) -> str:
    """Write the page of one thing: its picture, its sound with the caption, its kind, author and licence."""
    parts = []
    if thing.picture:
        shown = thing.picture
        alt = write_alt(shown.composition, thing.kind.place, shown.fog, shown.framed)
        parts.append(f'<img src="{shown.path}" alt="{escape(alt)}">')
    parts.append("<figure>")
    if thing.sound:
        parts.append(f'<audio controls preload="none" src="{thing.sound.path}"></audio>')
    parts += [f"<figcaption>{escape(thing.caption)}</figcaption>", "</figure>"]
    main = "\n".join([f"<h1>No. {thing.number}</h1>", *parts])
    licence = LICENCE_URLS[thing.licence]
    return write_page(
        f"No. {thing.number} · {TITLE}",
        f'<a href="/">Cabinet</a> / <a href="{find_list_path(thing.kind, 1)}">{thing.kind.name}</a> / {thing.number}',
        f'{main}\n<p class="attribution">Drawn and recorded by {thing.author}. '
        f'Licence: <a rel="license" href="{licence}">{thing.licence}</a></p>',
        f'<meta name="kind" content="{thing.kind.name}">\n<meta name="author" content="{thing.author}">\n'
        f'<link rel="license" href="{licence}">\n',
    )


def write_robots() -> str:
    """Write the robots.txt, which allows everything except the private things."""
    return "User-agent: *\nDisallow: /private/\n"


def write_error(status: int, message: str) -> str:
    """Write an error page."""
    return write_page(f"{status} {message}", '<a href="/">Cabinet</a>', f"<h1>{status}</h1>\n<p>{message}.</p>")
