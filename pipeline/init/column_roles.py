"""Tell what the columns of a table are, by their names and by what is in them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.align.given_splits import SPELLINGS
from pipeline.init.path_roles import is_repeated
from pipeline.init.read_table_sample import TableSample

NAMES: Mapping[str, Sequence[str]] = {
    name: names.split()
    for name, names in {
        "caption": "caption captions text texts sentence sentences description transcript transcription comment raw "
        "title prompt utterance",
        "label": "label labels category class class_name classname target tag emotion genre species intent breed",
        "group": "group speaker speaker_id client_id author user user_id subject subject_id patient patient_id session",
        "split": "split set subset partition",
        "language": "language lang locale",
        "licence": "licence license",
        "attribution": "attribution credit",
        "sample": "sample sample_id",
        "start": "start begin start_time begin_time onset start_seconds",
        "end": "end stop end_time stop_time offset end_seconds",
    }.items()
}
"""By annotation, the names of columns that are likely to have it."""

FEW_LABELS = 1_000
SENTENCE_WORDS = 3.0


def find_annotations(sample: TableSample, taken: Sequence[str]) -> dict[str, str]:
    """Return the columns of a table by what they say; those that are `taken` are something else.

    A column is taken by its name where what is in it fits; a caption and a label also by what is in it.
    """
    free = [name for name in sample.columns if name not in taken]
    found: dict[str, str] = {}
    for annotation, names in NAMES.items():
        named = [name for wanted in names for name in free if name.strip().lower().replace(" ", "_") == wanted]
        fitting = [name for name in named if name not in found.values() and _fits(annotation, sample.list_values(name))]
        if fitting:  # `category` rather than its number in `target`
            found[annotation] = min(fitting, key=lambda name: all(map(_is_number, sample.list_values(name))))
    if "end" in found and "start" not in found:
        del found["end"]
    free = [name for name in free if name not in found.values()]
    if "caption" not in found and (name := next((n for n in free if _is_prose(sample.list_values(n))), None)):
        found["caption"] = name
    if "label" not in found and (name := next((n for n in free if _is_class(sample.list_values(n))), None)):
        found["label"] = name
    return found


def _fits(annotation: str, values: Sequence[Any]) -> bool:
    if not values:
        return False
    match annotation:
        case "caption":
            return all(isinstance(value, str) or _is_texts(value) for value in values)
        case "start" | "end":
            return all(map(_is_number, values))
        case "split":
            spelled = {SPELLINGS.get(str(value).lower()) for value in values}
            return None not in spelled and "train" in spelled and len(spelled) > 1
        case "label" | "group":
            return all(isinstance(value, str | int | bool) for value in values) and is_repeated(list(map(str, values)))
    return all(isinstance(value, str | int) for value in values)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_prose(values: Sequence[Any]) -> bool:
    if values and all(map(_is_texts, values)):
        return True
    words = [len(value.split()) for value in values if isinstance(value, str)]
    return bool(words) and len(words) == len(values) and sum(words) / len(words) >= SENTENCE_WORDS


def _is_class(values: Sequence[Any]) -> bool:
    texts = [value for value in values if isinstance(value, str) and not _is_number(value)]
    return len(texts) == len(values) and is_repeated(texts) and len(set(texts)) <= min(FEW_LABELS, len(texts) / 3)
