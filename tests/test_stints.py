"""Which tasks go together: each once, and again where it was lost; long ones alone; less and less towards the end."""

import random

import pytest

from pipeline.stints import SHARE, STINT, Stints


def never_full(number: int) -> bool:
    return True


@pytest.mark.parametrize("seed", range(20))
def test_every_task_is_handed_out_until_it_is_finished(seed: int) -> None:
    draw = random.Random(seed)
    count, threads = draw.randrange(300), draw.randrange(1, 9)
    stints, left, finished = Stints(count), count, list[int]()
    while left:
        stint = stints.take(threads, never_full)
        assert 1 <= len(stint) <= max(1, left // (SHARE * threads))
        if draw.random() < 0.2:
            stints.put_back(stint)
            continue
        left -= len(stint)
        finished += stint
        stints.note_finished(len(stint), len(stint) * draw.uniform(0, STINT))
    assert sorted(finished) == list(range(count))
    assert stints.take(threads, never_full) == []


def test_nothing_goes_together_before_a_task_has_ended() -> None:
    stints = Stints(1000)
    assert [stints.take(2, never_full) for _ in range(4)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize(("seconds", "together"), [(STINT * 2, 1), (STINT, 1), (STINT / 5, 5), (0.0, 1000 // SHARE)])
def test_as_many_go_together_as_take_the_time_of_a_stint(seconds: float, together: int) -> None:
    stints = Stints(1001)
    stints.take(1, never_full)
    stints.note_finished(1, seconds)
    assert len(stints.take(1, never_full)) == together


def test_what_does_not_fit_waits_and_so_does_all_behind_it() -> None:
    stints = Stints(100)
    stints.take(1, never_full)
    stints.note_finished(1, 0.0)
    assert stints.take(1, lambda number: number != 4) == [1, 2, 3]
    assert stints.take(1, lambda number: number != 4) == []
    assert stints.take(1, never_full)[0] == 4


def test_how_often_a_task_was_lost_is_counted() -> None:
    stints = Stints(8)
    assert stints.put_back(stints.take(1, never_full)) == 1
    assert stints.put_back(stints.take(1, never_full)) == 2
    stints.note_finished(1, 0.0)
    assert stints.put_back(stints.take(1, never_full)) == 3
