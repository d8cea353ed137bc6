"""Batch tasks: each is run once, again if it was lost; long ones alone; smaller batches towards the end."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.executor import open_executor
from pipeline.runtime.task_batching import BATCH_SECONDS, MAX_SHARE, TaskBatches

pytestmark = pytest.mark.slow


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
def test_every_task_is_handed_out_until_it_has_finished(seed: int) -> None:
    rng = random.Random(seed)
    count, threads = rng.randrange(300), rng.randrange(1, 9)
    batches, left, finished = TaskBatches(count), count, list[int]()
    while left:
        batch = batches.take(threads, never_full)
        assert 1 <= len(batch) <= max(1, left // (MAX_SHARE * threads))
        if rng.random() < 0.2:
            batches.put_back(batch)
            continue
        left -= len(batch)
        finished += batch
        batches.note_finished(len(batch), len(batch) * rng.uniform(0, BATCH_SECONDS))
    assert sorted(finished) == list(range(count))
    assert batches.take(threads, never_full) == []


def test_tasks_run_alone_before_one_has_ended() -> None:
    batches = TaskBatches(1000)
    assert [batches.take(2, never_full) for _ in range(4)] == [[0], [1], [2], [3]]


@pytest.mark.parametrize(
    ("seconds", "together"),
    [(BATCH_SECONDS * 2, 1), (BATCH_SECONDS, 1), (BATCH_SECONDS / 5, 5), (0.0, 1000 // MAX_SHARE)],
)
def test_as_many_go_together_as_take_the_time_of_a_stint(seconds: float, together: int) -> None:
    batches = TaskBatches(1001)
    batches.take(1, never_full)
    batches.note_finished(1, seconds)
    assert len(batches.take(1, never_full)) == together


def test_a_task_that_does_not_fit_waits_and_so_do_those_behind_it() -> None:
    batches = TaskBatches(100)
    batches.take(1, never_full)
    batches.note_finished(1, 0.0)
    assert batches.take(1, lambda number: number != 4) == [1, 2, 3]
    assert batches.take(1, lambda number: number != 4) == []
    assert batches.take(1, never_full)[0] == 4


def test_losses_of_a_task_are_counted() -> None:
    batches = TaskBatches(8)
    assert batches.put_back(batches.take(1, never_full)) == 1
    assert batches.put_back(batches.take(1, never_full)) == 2
    batches.note_finished(1, 0.0)
    assert batches.put_back(batches.take(1, never_full)) == 3


def test_at_most_half_of_the_short_tasks_are_submitted(tmp_path: Path) -> None:
    tasks = [Named(f"task-{number:03d}", tmp_path) for number in range(200)]
    seen = 0
    with open_executor(make_run(2), len(tasks)) as workers:
        for done, _ in enumerate(workers.run_tasks(mark_start, tasks)):
            seen = max(seen, len(list(tmp_path.iterdir())) - done)
    assert seen <= 100
    assert len(list(tmp_path.iterdir())) == 200


def test_a_batch_ends_with_a_task_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 25, however long they take: the 20th task is then within one, and not its last."""
    take = TaskBatches.take

    def take_together(batches: TaskBatches, threads: int, fits: Callable[[int], bool]) -> list[int]:
        return [number for _ in range(25) for number in take(batches, threads, fits)]

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


@pytest.mark.parametrize("workers", [0, 2])
def test_tasks_may_be_added_while_results_are_read(tmp_path: Path, workers: int) -> None:
    tasks, finished = [Named("first", tmp_path)], []
    run = make_run(workers).model_copy(update={"cache": str(tmp_path / "cache")})
    with open_executor(run, 2) as executor:
        for _, name in executor.run_tasks(mark_start, tasks):
            finished.append(name)
            if len(tasks) < 5:
                tasks += [Named(f"{len(tasks)}-{number}", tmp_path) for number in range(2)]
    assert sorted(finished) == ["1-0", "1-1", "3-0", "3-1", "first"]
