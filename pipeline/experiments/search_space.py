"""Define the ranges of a search: which values a param may have, written as `log(1e-4, 1e-2)`."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import ParamsError

if TYPE_CHECKING:
    import optuna

RANGE = re.compile(r"\s*([a-z_]+)\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True)
class Range:
    """Values of a param.

    Attributes:
        text: as it was written.
        ends: of numbers the least and the greatest; of a choice all values. All are to be valid.
        suggest: a value for a trial, by the param's name.
    """

    text: str
    ends: Sequence[Any]
    suggest: "Callable[[optuna.Trial, str], Any]"


def _make_numbers(text: str, values: Sequence[Any], whole: bool, log: bool) -> Range:
    kinds = (int,) if whole else (int, float)
    if len(values) != 2 or any(not isinstance(value, kinds) or isinstance(value, bool) for value in values):
        raise ValueError(f"it must have two {'whole ' * whole}numbers, the least and the greatest")
    low, high = values
    if low >= high or (log and low <= 0):
        raise ValueError(f"its first number must be less than its second{', and more than 0' * log}")
    if whole:
        return Range(text, values, lambda trial, name: trial.suggest_int(name, low, high, log=log))
    return Range(text, values, lambda trial, name: trial.suggest_float(name, low, high, log=log))


def _make_choice(text: str, values: Sequence[Any]) -> Range:
    if len(values) < 2:
        raise ValueError("it must have two or more values")
    spelled = [json.dumps(value) for value in values]  # lists and mappings, which the database does not keep
    return Range(text, values, lambda trial, name: json.loads(trial.suggest_categorical(name, spelled)))


RANGES: Mapping[str, Callable[[str, Sequence[Any]], Range]] = {
    "uniform": lambda text, values: _make_numbers(text, values, whole=False, log=False),
    "log": lambda text, values: _make_numbers(text, values, whole=False, log=True),
    "int": lambda text, values: _make_numbers(text, values, whole=True, log=False),
    "log_int": lambda text, values: _make_numbers(text, values, whole=True, log=True),
    "choice": _make_choice,
}
"""By name: numbers from a to b, evenly or evenly in their logarithm; whole ones likewise; or one of the values."""


def parse_range(name: str, value: Any) -> Range | None:
    """Return the range that the value of a param spells, or None for a value.

    Raises:
        ParamsError: it is a range with wrong values; the message names the param.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    match = RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[1] not in RANGES:
        return None
    try:
        values = YAML(typ="safe").load(f"[{match[2]}]")
        return RANGES[match[1]](value.strip(), values)
    except (ValueError, YAMLError) as error:
        fault = str(error) if isinstance(error, ValueError) else "its values are no YAML"
        raise ParamsError(f"{name} is {value}; {fault}") from None


def split_ranges(params: Mapping[str, Any]) -> tuple[dict[str, Range], dict[str, Any]]:
    """Return the params that have a range, and those that have a value.

    Raises:
        ParamsError: none has a range, or a range is wrong.
    """
    ranges = {name: parse_range(name, value) for name, value in params.items()}
    space = {name: found for name, found in ranges.items() if found is not None}
    if not space:
        raise ParamsError(
            f"no param has a range: say -S train.learning_rate='log(1e-4, 1e-2)'; known are {', '.join(RANGES)}"
        )
    return space, {name: value for name, value in params.items() if name not in space}
