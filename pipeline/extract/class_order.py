"""Order the classes, which label numbers count through. Pure."""

import re
from collections.abc import Iterable

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels in the order of their numbers if all are whole numbers (2 before 10), else in code-point order."""
    classes = tuple(sorted(labels))
    return tuple(sorted(classes, key=int)) if all(map(_WHOLE_NUMBER.fullmatch, classes)) else classes


def is_numeric(classes: tuple[str, ...] | None) -> bool:
    """Return whether classes are whole numbers in their order."""
    return bool(classes) and all(map(_WHOLE_NUMBER.fullmatch, classes or ())) and sort_classes(classes or ()) == classes
