"""Load frozen dataclasses from JSON values by the types of their attributes; missing and unknown keys are errors."""

import dataclasses
from collections.abc import Mapping, Set
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from shardwright.errors import FormatError

PLAIN = {bool, int, float, str, NoneType}
"""The types of JSON values that are no arrays and no objects."""
ALONE = (None, UnionType)
"""The origins of hints that are one type, or a union of types."""


def load_value(hint: Any, value: object, where: str) -> Any:
    """Convert a JSON value to the type of a hint: arrays to tuples, objects to dataclasses or dicts.

    Hints may be bool, int, float, str, unions of these and None, dataclasses, `tuple[X, ...]`, `Mapping[str, X]` and
    Any.

    Raises:
        FormatError: the value has another type; the message starts with `where`, its path in the document.
    """
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return _load_record(hint, value, where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple and isinstance(value, list):
        return tuple(load_value(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {name: load_value(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
    allowed = arguments if origin is UnionType else (hint,)
    # In Python a bool is an int and an int is no float; JSON distinguishes the first pair and not always the second.
    if type(value) in allowed or (type(value) is int and float in allowed):
        return value
    raise FormatError(f"{where} is {value!r:.80}; it must be {hint}")


def check_keys(document: object, needed: Set[str], known: Set[str], where: str) -> dict[str, Any]:
    """Check that a JSON value is an object with all `needed` keys and none but the `known` ones, and return it.

    Raises:
        FormatError: it is not; the message starts with `where` and names the keys.
    """
    if not isinstance(document, dict):
        raise FormatError(f"{where} is {document!r:.80}; it must be an object")
    if not needed <= document.keys() <= known:
        missing, unknown = sorted(needed - document.keys()), sorted(document.keys() - known)
        raise FormatError(f"{where}: missing keys {missing}, unknown keys {unknown}")
    return document


@dataclasses.dataclass(frozen=True)
class _RecordKeys:
    """The keys of a dataclass as JSON: those without a default, their type hints, and the types to take unchanged."""

    needed: Set[str]
    hints: Mapping[str, Any]
    plain: Mapping[str, Set[type]]


@cache
def _list_keys(record: Any) -> _RecordKeys:
    """Return the keys of a dataclass; a manifest has thousands of records of one class."""
    missing = dataclasses.MISSING
    needed = {a.name for a in dataclasses.fields(record) if a.default is a.default_factory is missing}
    hints = get_type_hints(record)
    plain = {name: set(get_args(hint) or (hint,)) & PLAIN for name, hint in hints.items() if get_origin(hint) in ALONE}
    return _RecordKeys(needed, hints, {name: plain.get(name, set()) for name in hints})


def _load_record(record: Any, value: object, where: str) -> Any:
    keys = _list_keys(record)
    values = {
        name: item if type(item) in keys.plain[name] else load_value(keys.hints[name], item, f"{where}.{name}")
        for name, item in check_keys(value, keys.needed, keys.hints.keys(), where).items()
    }
    try:
        return record(**values)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
