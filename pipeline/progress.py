"""Progress bars: on a terminal only, never in logs."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from pipeline.params import RunParams

Thing = TypeVar("Thing")


def show_progress(things: Iterable[Thing], total: int | None, unit: str, run: RunParams) -> Iterator[Thing]:
    """Hand `things` through and draw how many of `total` have passed."""
    if not (run.progress and sys.stderr.isatty()):
        yield from things
        return
    from tqdm import tqdm

    yield from tqdm(things, total=total, unit=f" {unit}", leave=False, dynamic_ncols=True)
