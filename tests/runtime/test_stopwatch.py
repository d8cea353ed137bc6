"""Count time by part: the parts add up to the whole, however they are nested and however they end."""

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.params import RunParams
from pipeline.runtime.executor import open_executor
from pipeline.runtime.stopwatch import OTHER, add_times, clock, format_times, take_times

pytestmark = pytest.mark.slow

Plan = tuple[str, bool, list[Any]]
"""A part, whether it ends in an error, and what runs inside it."""

PLANS: st.SearchStrategy[Plan] = st.recursive(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.just([])),
    lambda plans: st.tuples(st.sampled_from("abc"), st.booleans(), st.lists(plans, max_size=3)),
    max_leaves=12,
)


class Clock:
    """Time as the stopwatch alone sees it: it advances by one second each time it is read."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 1.0
        return self.now


def run(plan: Plan) -> int:
    """Carry a plan out; return the number of its parts."""
    part, fails, inner = plan
    count = 1
    with suppress(KeyError), clock(part):
        count += sum(run(each) for each in inner)
        if fails:
            raise KeyError
    return count


@given(PLANS)
def test_each_moment_counts_for_the_innermost_part(plan: Plan) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.runtime.stopwatch.time", Clock())
        take_times()
        count = run(plan)
    times = take_times()
    assert sum(times.values()) == 2 * count - 1  # a second passes between two reads
    assert take_times() == {}


def test_nested_parts_are_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runtime.stopwatch.time", Clock())
    take_times()
    with clock("outer"), clock("inner"):
        pass
    assert take_times() == {"inner": 1.0, "outer": 2.0}


def test_the_largest_part_comes_first_and_the_rest_last() -> None:
    said = format_times({OTHER: 5.0, "decode": 1.0, "mfcc": 3.98, "resize": 0.02})
    assert said == "10.0 s of work: mfcc 40 %, decode 10 %, other 50 %"


def work(part: str) -> str:
    with clock(part):
        time.sleep(0.02)
    return part


@pytest.mark.parametrize("workers", [0, 2])
def test_times_of_workers_are_added(workers: int) -> None:
    take_times()
    parts = ["a", "b", "a"]
    run_params = RunParams(workers=workers, memory="1 GiB", cache=".cache", progress=False)
    with open_executor(run_params, len(parts)) as opened:
        assert {result for _, result in opened.run_tasks(work, parts)} == {"a", "b"}
    times = take_times()
    assert times.keys() == {"a", "b", OTHER}
    assert times["a"] >= 0.04
    add_times(times)
    assert take_times() == times
