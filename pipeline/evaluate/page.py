"""`index.html`: the report as one file that needs nothing else, runs nothing and loads nothing.

Everything that comes from data goes through `escape_text`; the policy in its head would refuse a script all the same.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline.evaluate.gallery import Card, strip_controls
from pipeline.evaluate.metrics import find_extremes

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f6f8; color: #22303c; font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 48px 0 12px; }
p { margin: 0 0 12px; max-width: 70ch; }
.quiet { color: #5b6a78; }
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
class Report:
    """What the page shows: the content of `metrics.json`, the figures (PNG) by name, the worst samples, and what was
    measured: the hash of the dataset and a sentence about the model."""

    metrics: Mapping[str, Any]
    figures: Mapping[str, bytes]
    cards: Sequence[Card]
    dataset: str
    model: str


def build_page(report: Report) -> str:
    """The page's HTML."""
    metrics = report.metrics
    sections = [
        f"<h1>How good the model is</h1>\n<p class='quiet'>{escape_text(report.model)}</p>",
        build_tiles(metrics),
        "<h2>With fewer modalities</h2>\n<p>The same model, shown only a part of each sample.</p>",
        build_figure(report.figures, "subsets", "Scores with every subset of the modalities"),
        "<h2>By class</h2>",
        f"<p>{escape_text(describe_classes(metrics))}</p>",
        build_class_table(metrics["per_class"]),
        "<h2>Where classes are confused</h2>",
        build_figure(report.figures, "confusion", "Confusion matrix, rows the truth, columns the prediction"),
        "<h2>Where it errs most</h2>",
        build_cards(report.cards),
        "<h2>Training</h2>",
        build_figure(report.figures, "history", "Loss and validation scores over the epochs"),
        f"<footer>Measured on the split “{escape_text(metrics['split'])}” of the dataset "
        f"<code>{escape_text(report.dataset)}</code>. Intervals: 95 %, bootstrap over samples.</footer>",
    ]
    body = "\n".join(section for section in sections if section)
    return (
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>Report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def build_tiles(metrics: Mapping[str, Any]) -> str:
    """The numbers to see first."""
    present = sum(values["support"] > 0 for values in metrics["per_class"].values())
    tiles = [
        (format_score(metrics["macro_f1"]), f"macro F1 {format_interval(metrics, 'macro_f1')}"),
        (format_score(metrics["accuracy"]), f"accuracy {format_interval(metrics, 'accuracy')}"),
        (str(metrics["samples"]), f"samples of the split {metrics['split']}"),
        (str(present), f"of {len(metrics['per_class'])} classes in the split"),
    ]
    cells = "\n".join(
        f"<div class='tile'><b>{escape_text(b)}</b><span>{escape_text(span)}</span></div>" for b, span in tiles
    )
    return f"<div class='tiles'>\n{cells}\n</div>"


def describe_classes(metrics: Mapping[str, Any]) -> str:
    """A sentence or two on the best, the worst and the absent classes."""
    sentences = []
    extremes = find_extremes(metrics["per_class"])
    if extremes is not None:
        best, worst = extremes
        sentences.append(f"Told best: {best}. Told worst: {worst}.")
    if metrics["absent"]:
        sentences.append(f"Not in the split, and so not in the means: {', '.join(metrics['absent'])}.")
    return " ".join(sentences)


def build_class_table(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a class."""
    head = "".join(f"<th>{name}</th>" for name in ("class", "samples", "predicted", "precision", "recall", "F1"))
    rows = [
        [
            f"<bdi>{escape_text(name)}</bdi>",
            str(values["support"]),
            str(values["predicted"]),
            *(format_score(values[score]) for score in ("precision", "recall", "f1")),
        ]
        for name, values in per_class.items()
    ]
    lines = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class='table'><table>\n<tr>{head}</tr>\n{lines}\n</table></div>"


def build_figure(figures: Mapping[str, bytes], name: str, words: str) -> str:
    """A figure, or nothing where there is none of that name."""
    if name not in figures:
        return ""
    return f"<figure><img src='{encode_source(figures[name])}' alt='{escape_text(words)}'></figure>"


def build_cards(cards: Iterable[Card]) -> str:
    """The samples that the model got most wrong."""
    shown = "\n".join(build_card(card) for card in cards)
    return f"<div class='cards'>\n{shown}\n</div>" if shown else "<p>Nowhere: there is no sample to show.</p>"


def build_card(card: Card) -> str:
    """One sample."""
    picture = "<div class='none'>no picture</div>"
    if card.picture is not None:
        picture = f"<img src='{encode_source(card.picture)}' alt=''>"
    caption = f"<div dir='auto'>{escape_text(card.caption)}</div>" if card.caption else ""
    return (
        f"<div class='card'>{picture}"
        f"<div><span class='wrong'><bdi>{escape_text(card.predicted)}</bdi></span> {card.probability:.0%}, in truth "
        f"<span class='right'><bdi>{escape_text(card.truth)}</bdi></span> {card.truth_probability:.0%}</div>"
        f"{caption}<code>{escape_text(card.key)}</code></div>"
    )


def escape_text(text: str) -> str:
    """The text as HTML that shows it and does nothing else."""
    return escape(strip_controls(text))


def encode_source(png: bytes) -> str:
    """A picture as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def format_score(score: float | None) -> str:
    """Three digits, or a dash where the score is not defined."""
    return "–" if score is None else f"{score:.3f}"


def format_interval(metrics: Mapping[str, Any], name: str) -> str:
    """`(0.812 to 0.901)`, or nothing."""
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    return "" if low is None else f"({low:.3f} to {high:.3f})"
