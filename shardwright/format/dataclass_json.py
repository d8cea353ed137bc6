"""JSON values to frozen dataclasses, by the types of their attributes: nothing missing, nothing unknown."""

import dataclasses
from collections.abc import Mapping, Set
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from shardwright.errors import FormatError


def load_value(hint: Any, value: object, where: str) -> Any:
    """The JSON value as the type hint wants it; arrays become tuples, objects dataclasses or dicts.

    Hints may be bool, int, float, str, unions of these and None, dataclasses, `tuple[X, ...]`,
    `Mapping[str, X]` and Any.

    Raises:
        FormatError: it is something else; the message starts with `where`, the place in the document.
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
    # A bool is an int to Python and an int is no float; JSON tells the first apart and not always the second.
    if type(value) in allowed or (type(value) is int and float in allowed):
        return value
    raise FormatError(f"{where} is {value!r:.80}, {hint} is wanted")


def check_keys(document: object, needed: Set[str], known: Set[str], where: str) -> dict[str, Any]:
    """The JSON object, after a check that it has the needed keys and no unknown ones.

    Raises:
        FormatError: it has not, or is no object.
    """
    if not isinstance(document, dict):
        raise FormatError(f"{where} is {document!r:.80}, an object is wanted")
    if not needed <= document.keys() <= known:
        missing, unknown = sorted(needed - document.keys()), sorted(document.keys() - known)
        raise FormatError(f"{where}: missing keys {missing}, unknown keys {unknown}")
    return document


def _load_record(record: Any, value: object, where: str) -> Any:
    attributes = {a.name: a for a in dataclasses.fields(record)}
    needed = {n for n, a in attributes.items() if a.default is a.default_factory is dataclasses.MISSING}
    document = check_keys(value, needed, attributes.keys(), where)
    hints = get_type_hints(record)
    values = {name: load_value(hints[name], item, f"{where}.{name}") for name, item in document.items()}
    try:
        return record(**values)
    except FormatError as error:
        raise FormatError(f"{where}: {error}") from error
