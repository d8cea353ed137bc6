"""Read columns of the samples' metadata: their groups, and what they are sliced by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, ParamsError
from shardwright import ShardDataset
from shardwright.errors import ShardwrightError

GROUP = "group"


@dataclass(frozen=True)
class Categories:
    """A column of the samples: the number of each one's value, int64 (samples,), and the values, in the order in which
    they first occur; None for samples without one."""

    numbers: NDArray[np.int64]
    values: tuple[str | None, ...]


def read_categories(data: ShardDataset | None, names: Sequence[str]) -> dict[str, Categories]:
    """Return columns of the metadata by name, see `list_values`; `group` always.

    A sample without a group is a group of its own.

    Raises:
        ParamsError: no sample of the split has a column; the message lists those that there are.
        InputError: a shard is damaged.
    """
    wanted = list(dict.fromkeys([GROUP, *names]))
    seen: dict[str, dict[str | None, int]] = {name: {} for name in wanted}
    count = 0 if data is None else len(data)
    numbers = np.zeros((len(wanted), count), np.int64)
    known: set[str] = set()
    for row in range(count):
        values = _read_values(data, row)
        known |= values.keys()
        for column, name in enumerate(wanted):
            value = values.get(name)
            if name == GROUP and value is None:
                value = f"\0{row}"
            numbers[column, row] = seen[name].setdefault(value, len(seen[name]))
    if count and (unknown := [name for name in names if name not in known]):
        raise ParamsError(
            f"evaluate.slices has {unknown[0]}; it must name columns of the samples: {', '.join(sorted(known))}"
        )
    return {name: Categories(numbers[column], tuple(seen[name])) for column, name in enumerate(wanted)}


def _read_values(data: ShardDataset | None, row: int) -> dict[str, str]:
    assert data is not None
    try:
        return dict(list_values(data.meta(row)))
    except ShardwrightError as error:
        raise InputError(f"{error}: remove it and run `dvc repro` again") from error


def list_values(meta: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the columns of a sample and their values: `label`, `audio.language`, and of all parts together `language`,
    several values joined by ` + `."""
    together: dict[str, dict[str, None]] = {}
    for name, value in meta.items():
        if isinstance(value, str | int | float) and name != "key":
            yield name, str(value)
    for part, items in meta.get("items", {}).items():
        for item in items if isinstance(items, list) else [items]:
            for column, value in item.items():
                together.setdefault(column, {})[str(value)] = None
                together.setdefault(f"{part}.{column}", {})[str(value)] = None
    for name, values in together.items():
        yield name, " + ".join(values)
