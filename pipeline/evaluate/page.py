"""Build `index.html`: the report as one file that runs no script and loads nothing.

All text that comes from data goes through `escape_text`; the policy in the page's head would refuse a script anyway.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pipeline.evaluate.cards import Card, strip_controls
from pipeline.tasks.report import Cell, ReportTable, Section, TaskReport, Tile, format_score

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f6f8; color: #22303c; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 48px 0 12px; }
p { margin: 0 0 12px; max-width: 70ch; }
.quiet { color: #5b6a78; }
.warning { color: #fff; background: #b3261e; border-radius: 10px; padding: 10px 16px; margin: 16px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 16px; margin: 28px 0 0; }
.tile, .card, figure, .table { background: #fff; border: 1px solid #e1e7ec; border-radius: 10px; }
.tile { padding: 16px 20px; }
.tile b { display: block; font-size: 30px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: #5b6a78; font-size: 14px; }
figure { margin: 0 0 16px; padding: 16px; text-align: center; }
figure img { max-width: min(100%, 760px); height: auto; }
.table { overflow-x: auto; padding: 4px 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid #edf1f4; }
th:first-child, td:first-child { text-align: left; }
th { color: #5b6a78; font-weight: 600; font-size: 14px; }
tr:last-child td { border-bottom: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 16px; }
.card { padding: 14px; display: flex; flex-direction: column; gap: 8px; font-size: 14px; overflow-wrap: anywhere; }
.card img, .card .none { width: 100%; aspect-ratio: 1; background: #eef2f5; border-radius: 6px; }
.card img { object-fit: contain; }
.card .none { display: grid; place-items: center; color: #5b6a78; }
.card .wrong { color: #a8480f; font-weight: 600; }
.card .right { color: #22617f; font-weight: 600; }
.card code { font-size: 12px; color: #5b6a78; }
footer { margin-top: 48px; font-size: 14px; color: #5b6a78; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Page:
    """What the page shows.

    Attributes:
        split: on which the model was measured.
        dataset: its hash.
        model: a sentence about the model.
        report: what the task reports.
        figures: PNGs by name.
        cards: the samples that the model got most wrong.
        examples: the further samples that the report shows.
    """

    split: str
    dataset: str
    model: str
    report: TaskReport
    figures: Mapping[str, bytes]
    cards: Sequence[Card]
    examples: Sequence[Card] = ()


def build_page(page: Page) -> str:
    """Return the page's HTML."""
    sections = [
        f"<h1>Evaluation</h1>\n<p class='quiet'>{escape_text(page.model)}</p>",
        *(f"<p class='warning'>{escape_text(line)}</p>" for line in page.report.warnings),
        build_tiles(page.report.tiles),
        *(build_section(section, page) for section in page.report.sections),
        *build_training(page),
        f"<footer>Evaluated on the split “{escape_text(page.split)}” of the dataset "
        f"<code>{escape_text(page.dataset)}</code>.</footer>",
    ]
    body = "\n".join(section for section in sections if section)
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>Report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def build_training(page: Page) -> list[str]:
    """Return the sections on the model that was trained; none where there is no history."""
    if "history" not in page.figures:
        return []
    return [
        f"<h2>Worst mistakes</h2>\n<p>{escape_text(page.report.mistakes_text)}</p>",
        build_cards(page.cards),
        *build_examples(page),
        "<h2>Training</h2>\n<p>The weights of the marked epoch, the best in validation, were evaluated.</p>",
        build_figure(page.figures, "history", "Loss and validation scores by epoch"),
    ]


def build_examples(page: Page) -> list[str]:
    """Return the section of the further samples; nothing where there are none."""
    if not page.examples:
        return []
    return [f"<h2>Examples</h2>\n<p>{escape_text(page.report.examples_text)}</p>", build_cards(page.examples)]


def build_tiles(tiles: Iterable[Tile]) -> str:
    """Return the most important numbers."""
    cells = "\n".join(
        f"<div class='tile'><b>{escape_text(tile.value)}</b><span>{escape_text(tile.caption)}</span></div>"
        for tile in tiles
    )
    return f"<div class='tiles'>\n{cells}\n</div>"


def build_section(section: Section, page: Page) -> str:
    """Return a section with its heading, text, table and figure, as far as it has them."""
    parts = [
        f"<h2>{escape_text(section.heading)}</h2>",
        f"<p>{escape_text(section.text)}</p>" if section.text else "",
        build_table(page.report.tables[section.table]) if section.table else "",
        build_figure(page.figures, section.figure, section.alt),
    ]
    return "\n".join(part for part in parts if part)


def build_table(table: ReportTable) -> str:
    """Return the table with the titles of its columns."""
    head = "".join(f"<th>{escape_text(title)}</th>" for title in table.columns.values())
    lines = "\n".join(f"<tr>{''.join(f'<td>{format_cell(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<div class='table'><table>\n<tr>{head}</tr>\n{lines}\n</table></div>"


def format_cell(cell: Cell) -> str:
    """Return a cell's HTML; text from data must not turn the direction of its row."""
    if isinstance(cell, str):
        return f"<bdi>{escape_text(cell)}</bdi>"
    return str(cell) if isinstance(cell, int) else format_score(cell)


def build_figure(figures: Mapping[str, bytes], name: str, alt: str) -> str:
    """Return a figure, or nothing if there is none of that name."""
    if name not in figures:
        return ""
    return f"<figure><img src='{encode_source(figures[name])}' alt='{escape_text(alt)}'></figure>"


def build_cards(cards: Iterable[Card]) -> str:
    """Return the samples that the model got most wrong."""
    shown = "\n".join(build_card(card) for card in cards)
    return f"<div class='cards'>\n{shown}\n</div>" if shown else "<p>There is no sample to show.</p>"


def build_card(card: Card) -> str:
    """Return one sample."""
    mistake = card.mistake
    image = "<div class='none'>no image</div>"
    if card.image is not None:
        image = f"<img src='{encode_source(card.image)}' alt=''>"
    caption = f"<div dir='auto'>{escape_text(card.caption)}</div>" if card.caption else ""
    wrong, right = (
        f"{word} <span class='{kind}'><bdi>{escape_text(text)}</bdi></span>{'' if share is None else f' {share:.0%}'}"
        for kind, word, text, share in zip(
            ("wrong", "right"),
            mistake.labels,
            (mistake.prediction, mistake.truth),
            (mistake.probability, mistake.truth_probability),
            strict=True,
        )
    )
    return f"<div class='card'>{image}<div>{wrong}, {right}</div>{caption}<code>{escape_text(card.key)}</code></div>"


def escape_text(text: str) -> str:
    """Return HTML that shows the text and does nothing else."""
    return escape(strip_controls(text))


def encode_source(png: bytes) -> str:
    """Return an image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
