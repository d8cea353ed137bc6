"""Show a progress bar on a terminal, and nothing in logs; say a line in both."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pipeline.config.params import RunParams

Element = TypeVar("Element")

Measure = Callable[[Element], tuple[int, Mapping[str, int]]]
"""Returns how much of the total an element is, and the counts of its outcomes, such as `{"kept": 250, "flat": 6}`."""


def show_progress(
    elements: Iterable[Element], total: int | None, unit: str, run: RunParams, measure: Measure[Element] | None = None
) -> Iterator[Element]:
    """Yield `elements` and draw how much of `total` has passed, in `unit`, with the rate, the remaining time at that
    rate, and the outcomes so far. Without a `measure` each element counts one."""
    if not (run.progress and sys.stderr.isatty()):
        yield from elements
        return
    from tqdm import tqdm

    counts: Counter[str] = Counter()
    with tqdm(total=total, unit=f" {unit}", leave=False, dynamic_ncols=True) as bar:
        for element in elements:
            amount, outcomes = measure(element) if measure else (1, {})
            counts.update(outcomes)
            if counts:
                bar.set_postfix_str(", ".join(f"{name} {count:,}" for name, count in counts.items()), refresh=False)
            bar.update(amount)
            yield element


def say_line(line: str) -> None:
    """Write a line to stderr, in place of a progress bar that may be there."""
    erase = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{erase}{line}\n")
    sys.stderr.flush()
