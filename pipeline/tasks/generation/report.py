"""Measure a generation and report on it: each score beside those of texts that know less of a sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.generation.texts import NO_TOKEN, ScoredTexts, TextDecoder
from pipeline.tasks.metrics.bootstrap import SEED
from pipeline.tasks.metrics.sums import GroupSums, deal_groups, sum_by_row
from pipeline.tasks.metrics.texts import COUNTS, compute_sentence_chrf, name_settings, score_counts
from pipeline.tasks.report import Bars, Lazy, Mistake, ReportTable, Section, TaskReport, Tile, format_score
from pipeline.tasks.report_blocks import divide_rows, list_subset_scores, tabulate_subsets
from pipeline.tasks.task import Predictions

if TYPE_CHECKING:
    from pipeline.tasks.generation.plan import GenerationPlan

SCORE_TITLES = {"token_probability": "probability of a token", "token_accuracy": "token accuracy"}
"""Of validation, given the true tokens before each: the geometric mean of the probabilities of the true tokens, the
inverse of the perplexity; and how often the true one is the most probable."""

TITLES = {"bleu": "BLEU", "chrf": "chrF", "token_accuracy": "token accuracy", "exact_match": "exact match"}
FLOOR_TITLES = {
    "constant": "one text for all",
    "shuffled": "another sample's text",
    "class": "one text for each class",
}
NO_TEXTS = "no sample of the split has the part"
COLUMNS: Columns = {"key": "string", "generated": "string", "reference": "string", "chrf": "float64?"}
"""`predictions`."""


def select_rows(predictions: Predictions) -> NDArray[np.int64]:
    """Return the rows of the samples that have a true text."""
    return np.flatnonzero((predictions.columns["truth"][:, :, 0] != NO_TOKEN).any(1))


def score_texts(predictions: Predictions, plan: "GenerationPlan") -> dict[str, ScoredTexts]:
    """Return the texts to score, of the samples that have a true one: `model`, and by their names the floors, those of
    `FLOOR_TITLES`. They are made once."""
    texts: dict[str, ScoredTexts] = predictions.derive("texts", lambda: make_texts(predictions, plan))
    return texts


def make_texts(predictions: Predictions, plan: "GenerationPlan") -> dict[str, ScoredTexts]:
    """Return what `score_texts` does."""
    rows = select_rows(predictions)
    truth = np.asarray(predictions.columns["truth"][rows])
    order = np.random.default_rng(SEED).permutation(len(rows))
    others = np.empty_like(order)
    others[order] = np.roll(order, 1)  # no sample gets its own
    first = truth[np.arange(len(rows)), (truth[:, :, 0] != NO_TOKEN).argmax(1)]
    constant = np.tile(pad_text(plan.constant, plan.steps), (len(rows), 1))
    another = np.stack([pad_text(drop_silent(text, plan), plan.steps) for text in first[others]])
    texts = {"constant": constant, "shuffled": another}
    if plan.classes:
        of_class = np.stack([pad_text(text, plan.steps) for text in plan.class_texts])
        texts["class"] = of_class[predictions.columns["label"][rows].astype(np.int64)]
    texts["model"] = np.asarray(predictions.columns["generated"][rows])
    return {name: ScoredTexts(tokens, truth, make_decoder(predictions, plan)) for name, tokens in texts.items()}


def make_decoder(predictions: Predictions, plan: "GenerationPlan") -> TextDecoder:
    """Return what makes texts of tokens."""
    assert predictions.decode is not None, "a dataset with texts has a vocabulary"
    return TextDecoder(predictions.decode, plan.silent)


def drop_silent(tokens: NDArray[np.int32], plan: "GenerationPlan") -> NDArray[np.int32]:
    """Return the tokens of a text that a model may generate."""
    return tokens[~np.isin(tokens, [*plan.silent, NO_TOKEN])]


def pad_text(tokens: Sequence[int] | NDArray[np.int32], steps: int) -> NDArray[np.int32]:
    """Return the tokens of a text, (steps,), `NO_TOKEN` after its end."""
    padded = np.full(steps, NO_TOKEN, np.int32)
    padded[: len(tokens)] = tokens
    return padded


def measure(predictions: Predictions, plan: "GenerationPlan", split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN.

    BLEU, chrF, exact match and token accuracy are over the samples that have a true text, `measured` of them. Beside
    each stand its floors: the same of one text for all (`constant_`), of another sample's text (`shuffled_`) and, with
    labels, of one text for each class (`class_`); the first and the last are training texts. Token accuracy of the
    model is given the true tokens before each, that of floors compares tokens by their place.
    """
    kinds = [name for name in FLOOR_TITLES if name != "class" or plan.classes]
    facts = {"split": split, "samples": len(predictions.keys), "settings": name_settings()}
    if not len(select_rows(predictions)):
        names = [*TITLES, *(f"{kind}_{name}" for name in TITLES for kind in kinds)]
        empty = dict.fromkeys([*names, "token_probability", "perplexity"])
        undefined = dict.fromkeys(names, NO_TEXTS)
        return {**facts, "measured": 0, **empty, "constant_text": None, "subsets": {}, "undefined": undefined}
    texts = score_texts(predictions, plan)
    model = texts["model"]
    *_, of_all = predictions.scores.values()
    scores = {**model.compute_scores(), **of_all}
    floors = {kind: texts[kind].compute_scores() for kind in kinds}
    return {
        **facts,
        "measured": len(model.texts),
        **scores,
        "perplexity": 1 / of_all["token_probability"],
        **{f"{kind}_{name}": floors[kind][name] for name in TITLES for kind in kinds},
        "constant_text": texts["constant"].texts[0],
        "subsets": list_subset_scores(predictions),
        "undefined": {},
    }


def tabulate(predictions: Predictions, plan: "GenerationPlan") -> GroupSums:
    """Return BLEU as a function of the counts by group, of the samples that have a true text."""
    rows = select_rows(predictions)
    counts = score_texts(predictions, plan)["model"].counts if len(rows) else np.empty((0, COUNTS))
    table = sum_by_row(deal_groups(predictions.groups[rows], COUNTS), list(counts.T))
    bounds = {"bleu": (0.0, 100.0)}
    return GroupSums(table, lambda sums: {"bleu": score_counts(sums)}, np.empty((0, COUNTS)), np.empty(0), bounds)


def list_floors(metrics: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """Return the floors of a score by their titles."""
    return {title: metrics[f"{kind}_{name}"] for kind, title in FLOOR_TITLES.items() if f"{kind}_{name}" in metrics}


def format_value(name: str, value: float | None) -> str:
    """Return a score: BLEU and chrF, of 100, with one decimal."""
    return f"{value:.1f}" if name in ("bleu", "chrf") and value is not None else format_score(value)


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the lines for the summary: BLEU beside all its floors, the others beside the highest of theirs."""
    if not metrics["measured"]:
        return [f"the split {metrics['split']} has nothing to generate: {NO_TEXTS}"]
    low, high = metrics.get("bleu_low"), metrics.get("bleu_high")
    interval = "" if low is None or high is None else f" ({low:.1f} to {high:.1f})"
    floors = ", ".join(f"{title} {value:.1f}" for title, value in list_floors(metrics, "bleu").items())
    others = ", ".join(
        f"{title} {format_value(name, metrics[name])} (floor {format_value(name, _find_floor(metrics, name))})"
        for name, title in TITLES.items()
        if name != "bleu"
    )
    return [f"{metrics['split']}: BLEU {metrics['bleu']:.1f}{interval}; {floors}", others]


def _find_floor(metrics: Mapping[str, Any], name: str) -> float | None:
    return max((value for value in list_floors(metrics, name).values() if value is not None), default=None)


TEXT = (
    "BLEU and chrF are from 0 to 100. Beside the model stand texts that know less of a sample: one training text for "
    "all samples, the one most like the others; the text of another sample; and, with labels, one training text for "
    "each class. Token accuracy of the model is given the true tokens before each; that of the others compares tokens "
    "by their place."
)
SUBSETS_TEXT = (
    "The same model, shown only some of the parts: how probable the true texts are, given the true tokens before each. "
    "Texts are generated with all parts alone."
)


def build_report(
    predictions: Predictions, plan: "GenerationPlan", metrics: Mapping[str, Any], worst: int
) -> TaskReport:
    """Return the tables, the figure, and the sections of the page with examples."""
    kinds = {kind: title for kind, title in FLOOR_TITLES.items() if f"{kind}_bleu" in metrics}
    scores = [[title, metrics[name], *(metrics[f"{kind}_{name}"] for kind in kinds)] for name, title in TITLES.items()]
    mistakes, examples = choose_examples(predictions, plan, worst) if metrics["measured"] else ([], [])
    return TaskReport(
        tiles=[
            *(
                Tile(
                    format_value(name, metrics[name]),
                    f"{title}, floor {format_value(name, _find_floor(metrics, name))}",
                )
                for name, title in TITLES.items()
            ),
            Tile(str(metrics["measured"]), f"samples with {plan.target.part} in the split {metrics['split']}"),
        ],
        sections=[
            Section(
                "Scores", TEXT, figure="scores", alt="BLEU and chrF of the model and of its floors", table="scores"
            ),
            Section("Parts", SUBSETS_TEXT, table="subsets"),
        ],
        figures={"scores": draw_scores(metrics, kinds)} if metrics["measured"] else {},
        tables={
            "scores": ReportTable({"score": "score", "model": "model", **kinds}, scores),
            "subsets": tabulate_subsets(metrics, SCORE_TITLES),
        },
        columns=COLUMNS,
        predictions=Lazy(lambda: list_rows(predictions, plan)),
        mistakes=mistakes,
        mistakes_text="The samples with the lowest chrF.",
        examples=examples,
        examples_text="Samples drawn at random.",
    )


def draw_scores(metrics: Mapping[str, Any], kinds: Mapping[str, str]) -> Bars:
    """Return the figure of BLEU and chrF, from 0 to 1."""
    rows = {title: (metrics[f"{kind}_bleu"] / 100, metrics[f"{kind}_chrf"] / 100) for kind, title in kinds.items()}
    rows["the model"] = (metrics["bleu"] / 100, metrics["chrf"] / 100)
    return Bars("BLEU and chrF", "divided by 100", ("BLEU", "chrF"), rows)


def choose_examples(
    predictions: Predictions, plan: "GenerationPlan", count: int
) -> tuple[list[Mistake], list[Mistake]]:
    """Return the samples with the lowest chrF, the lowest first, then by key; and as many of all at random."""
    rows = select_rows(predictions)
    lowest = sorted(rows, key=lambda row: (read_row(predictions, plan, row)[2], predictions.keys[row]))[:count]
    drawn = np.random.default_rng(SEED).permutation(rows)[:count]
    mistakes, examples = ([describe_row(predictions, plan, int(row)) for row in chosen] for chosen in (lowest, drawn))
    return mistakes, examples


def describe_row(predictions: Predictions, plan: "GenerationPlan", row: int) -> Mistake:
    """Return a sample as the page shows it."""
    generated, truths, _ = read_row(predictions, plan, row)
    return Mistake(row=row, prediction=generated, truth=" / ".join(truths), labels=("generated", "true"))


def read_row(predictions: Predictions, plan: "GenerationPlan", row: int) -> tuple[str, list[str], float | None]:
    """Return the generated text of a sample, its true ones, and its chrF; None where it has none."""
    decoder = make_decoder(predictions, plan)
    generated = decoder.decode_text(predictions.columns["generated"][row])
    truths = decoder.decode_truth(predictions.columns["truth"][row])
    return generated, truths, compute_sentence_chrf(generated, truths) if truths else None


def list_rows(predictions: Predictions, plan: "GenerationPlan") -> Iterator[ColumnBatch]:
    """Yield the columns of `COLUMNS`, `GROUP_ROWS` samples at a time; of several true texts one a line."""
    for rows, keys in divide_rows(predictions):
        read = [read_row(predictions, plan, rows.start + number) for number in range(len(keys))]
        yield {
            "key": keys,
            "generated": [generated for generated, _, _ in read],
            "reference": ["\n".join(truths) for _, truths, _ in read],
            "chrf": [score for _, _, score in read],
        }
