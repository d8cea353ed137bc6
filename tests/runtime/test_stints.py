"""Which tasks go together: each once, and again where it was lost; long ones alone; less and less towards the end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.executor import open_executor
from pipeline.runtime.task_batching import SHARE, STINT, TaskBatches


@dataclass(frozen=True)
class Named:
    name: str
    folder: Path


def make_run(workers: int) -> RunParams:
    return RunParams(workers=workers, memory="1 GiB", cache=".cache", progress=False)


def mark_start(task: Named) -> str:
    (task.folder / task.name).touch()
    time.sleep(0.01)
    return task.name


def fail_at_the_twentieth(task: Named) -> str:
    if task.name == "task-020":
        raise ValueError(task.name)
    return mark_start(task)


def never_full(number: int) -> bool:
    return True


@pytest.mark.parametrize("seed", range(20))
def test_every_task_is_handed_out_until_it_is_finished(seed: int) -> None:
    draw = random.Random(seed)
    count, threads = draw.randrange(300), draw.randrange(1, 9)
    stints, left, finished = TaskBatches(count), count, list[int]()
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
    stints = TaskBatches(1000)
    assert [stints.take(2, never_full) for _ in range(4)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize(("seconds", "together"), [(STINT * 2, 1), (STINT, 1), (STINT / 5, 5), (0.0, 1000 // SHARE)])
def test_as_many_go_together_as_take_the_time_of_a_stint(seconds: float, together: int) -> None:
    stints = TaskBatches(1001)
    stints.take(1, never_full)
    stints.note_finished(1, seconds)
    assert len(stints.take(1, never_full)) == together


def test_what_does_not_fit_waits_and_so_does_all_behind_it() -> None:
    stints = TaskBatches(100)
    stints.take(1, never_full)
    stints.note_finished(1, 0.0)
    assert stints.take(1, lambda number: number != 4) == [1, 2, 3]
    assert stints.take(1, lambda number: number != 4) == []
    assert stints.take(1, never_full)[0] == 4


def test_how_often_a_task_was_lost_is_counted() -> None:
    stints = TaskBatches(8)
    assert stints.put_back(stints.take(1, never_full)) == 1
    assert stints.put_back(stints.take(1, never_full)) == 2
    stints.note_finished(1, 0.0)
    assert stints.put_back(stints.take(1, never_full)) == 3


def test_short_tasks_in_flight_are_half_of_what_is_left(tmp_path: Path) -> None:
    tasks = [Named(f"task-{number:03d}", tmp_path) for number in range(200)]
    seen = 0
    with open_executor(make_run(2), len(tasks)) as workers:
        for done, _ in enumerate(workers.run_tasks(mark_start, tasks)):
            seen = max(seen, len(list(tmp_path.iterdir())) - done)
    assert seen <= 100
    assert len(list(tmp_path.iterdir())) == 200


def test_of_tasks_that_go_together_nobody_goes_on_after_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 25, however long they take: the 20th is within a stint then, and not the last of it."""
    take = TaskBatches.take

    def take_together(stints: TaskBatches, threads: int, fits: Callable[[int], bool]) -> list[int]:
        return [number for _ in range(25) for number in take(stints, threads, fits)]

    monkeypatch.setattr(TaskBatches, "take", take_together)
    monkeypatch.setattr(TaskBatches, "note_finished", lambda *_: None)  # as if none had ended: each goes alone
    tasks = [Named(f"task-{number:03d}", tmp_path) for number in range(200)]
    finished = list[tuple[int, str]]()
    with open_executor(make_run(1), len(tasks)) as workers, pytest.raises(PipelineError, match="task-020 failed"):
        finished.extend(workers.run_tasks(fail_at_the_twentieth, tasks))
    assert [number for number, _ in finished] == list(range(20))
    started = {path.name for path in tmp_path.iterdir()}
    assert "task-019" in started
    assert not started & {f"task-{number:03d}" for number in range(21, 25)}
