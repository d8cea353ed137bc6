"""Where the time goes: parts that add up to the whole, whatever is nested in what and however it ends."""

import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.params import RunParams
from pipeline.runtime.executor import open_executor
from pipeline.runtime.stopwatch import OTHER, add_times, clock, format_times, take_times

Plan = tuple[str, bool, list[Any]]
"""A part, whether it ends in an error, and what runs inside it."""

PLANS: st.SearchStrategy[Plan] = st.recursive(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.just([])),
    lambda plans: st.tuples(st.sampled_from("abc"), st.booleans(), st.lists(plans, max_size=3)),
    max_leaves=12,
)


class Clock:
    """A clock that goes on by one second whenever somebody looks at it."""

    now = 0.0

    def read(self) -> float:
        self.now += 1.0
        return self.now


def run(plan: Plan) -> int:
    """Carry a plan out; gives how many parts were in it."""
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
        patch.setattr("time.perf_counter", Clock().read)
        take_times()
        count = run(plan)
    times = take_times()
    assert sum(times.values()) == 2 * count - 1  # a second passes between two looks
    assert take_times() == {}


def test_what_is_nested_is_not_counted_twice() -> None:
    take_times()
    with clock("outer"):
        time.sleep(0.01)
        with clock("inner"):
            time.sleep(0.03)
    times = take_times()
    assert times["inner"] >= 0.03
    assert 0.01 <= times["outer"] < times["inner"]


def test_the_largest_part_comes_first_and_the_rest_last() -> None:
    said = format_times({OTHER: 5.0, "decode": 1.0, "mfcc": 3.98, "resize": 0.02})
    assert said == "10.0 s of work: mfcc 40 %, decode 10 %, other 50 %"


def work(part: str) -> str:
    with clock(part):
        time.sleep(0.02)
    return part


@pytest.mark.parametrize("workers", [0, 2])
def test_what_workers_count_comes_back(workers: int) -> None:
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
