"""Progress bars: on a terminal only, never in logs."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pipeline.config.params import RunParams

Thing = TypeVar("Thing")

Measure = Callable[[Thing], tuple[int, Mapping[str, int]]]
"""How much of the total a thing is, and how many of its parts had which outcome, such as `{"kept": 250, "flat": 6}`."""


def show_progress(
    things: Iterable[Thing], total: int | None, unit: str, run: RunParams, measure: Measure[Thing] | None = None
) -> Iterator[Thing]:
    """Hand `things` through and draw how much of `total` has passed, in `unit`, with the rate, the time that the rest
    will take at that rate, and the outcomes so far. Without a `measure` each thing is one."""
    if not (run.progress and sys.stderr.isatty()):
        yield from things
        return
    from tqdm import tqdm

    counts: Counter[str] = Counter()
    with tqdm(total=total, unit=f" {unit}", leave=False, dynamic_ncols=True) as bar:
        for thing in things:
            amount, outcomes = measure(thing) if measure else (1, {})
            counts.update(outcomes)
            if counts:
                bar.set_postfix_str(", ".join(f"{name} {count:,}" for name, count in counts.items()), refresh=False)
            bar.update(amount)
            yield thing
