"""Items that kill, hang or outgrow their process: each is lost alone, with its reason."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.errors import MachineDrops, PipelineError
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.sandbox.heartbeat import watch_items
from pipeline.tables.drops import DropCounts, Outcome, Reason, Rejection, check_machine_drops
from tests.support.poison import POISONS, Items, work_on
from tests.support.processes import kill, list_children
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]

SECONDS = 3.0
"""For an item. One that fills memory takes 0.2 s, and on a busy machine sometimes more than 1 s."""


def make_run(workers: int, cache: Path | str = ".cache", **more: object) -> RunParams:
    given = {"memory": "128 MiB", "item_seconds": SECONDS, "cache": str(cache), "progress": False}
    return RunParams.model_validate({"workers": workers, **given, **more})


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with open_executor(make_run(2), tasks=100) as opened:
        yield opened


def check_results(tasks: Sequence[Items], results: Sequence[list[str | Rejection]]) -> None:
    """Check that every good item has its result, and every poison its reason."""
    for task, found in zip(tasks, results, strict=True):
        for number, (kind, result) in enumerate(zip(task.kinds, found, strict=True)):
            if kind in POISONS:
                _, reason, value = POISONS[kind]
                assert isinstance(result, Rejection), (kind, result)
                assert (result.reason, result.value) == (reason, value), kind
            else:
                assert result == f"{task.name}-{number}"


def run_all(workers: Executor, tasks: Sequence[Items]) -> list[list[str | Rejection]]:
    results = dict(workers.run_tasks(work_on, tasks))
    return [results[number] for number in range(len(tasks))]


@pytest.mark.parametrize("kind", POISONS)
def test_each_poison_is_lost_alone(kind: str, workers: Executor) -> None:
    tasks = [Items("a", ["good"] * 3), Items("b", ["good", kind, "good"]), Items("c", ["good"])]
    check_results(tasks, run_all(workers, tasks))


def test_many_in_one_task(workers: Executor) -> None:
    kinds = ["falls", "good", "grows", "leaves", "good", "aborts", "falls", "good", "loops"]
    tasks = [Items("a", kinds), Items("b", ["falls"]), Items("c", [])]
    check_results(tasks, run_all(workers, tasks))


@pytest.mark.parametrize("kind", ["falls", "grows", "loops"])
def test_a_function_that_does_not_report_its_item(kind: str, workers: Executor) -> None:
    tasks = [Items("a", ["good", kind, "good"], unwatched=True)]
    check_results(tasks, run_all(workers, tasks))


@pytest.mark.parametrize(("kind", "times"), [("falls", 2), ("grows", 1), ("loops in C", 1)])
def test_how_often_items_are_worked_on(kind: str, times: int, workers: Executor, tmp_path: Path) -> None:
    """Of a task with one poison: those before it again, those after it once, itself until there is no doubt."""
    check_results([task := Items("a", ["good"] * 5 + [kind] + ["good"] * 5, folder=tmp_path)], run_all(workers, [task]))
    assert [(tmp_path / f"a-{n}").stat().st_size for n in range(11)] == [2] * 5 + [times] + [1] * 5


@pytest.mark.sweep
def test_twenty_of_each_kind_among_four_hundred(workers: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["good"] * 400 + [kind for kind in POISONS for _ in range(20)]
    random.Random(0).shuffle(kinds)
    tasks = [Items(str(start), kinds[start : start + 16], 0.002) for start in range(0, len(kinds), 16)]
    start = time.monotonic()
    results = run_all(workers, tasks)
    check_results(tasks, results)
    lost = Counter(kind for task in tasks for kind in task.kinds)
    with capsys.disabled():
        print(f"\n{len(kinds)} items in {len(tasks)} tasks, {time.monotonic() - start:.1f} s, 2 workers")
        for kind, (_, reason, value) in POISONS.items():
            print(f"{kind:<24}{lost[kind]:>4} {reason} {value}")


@pytest.mark.sweep
def test_processes_killed_at_random_change_no_result(tmp_path: Path) -> None:
    """No sooner than four tasks' items were begun since the last time: however busy the machine is, none dies of it."""
    done = tmp_path / "done"
    done.mkdir()
    tasks = [Items(str(number), ["good"] * 8, 0.01, done) for number in range(200)]
    draw, ended, kills = random.Random(0), threading.Event(), list[int]()

    def count_begun() -> int:
        return sum(path.stat().st_size for path in done.iterdir())

    def kill_now_and_then() -> None:
        begun = 0
        while not ended.wait(draw.uniform(0.2, 0.6)):
            if count_begun() < begun + 4 * 8:
                continue
            begun = count_begun()
            if children := list_children(os.getpid()):
                kills.append(draw.choice(children))
                kill(kills[-1])

    killer = threading.Thread(target=kill_now_and_then)
    with open_executor(make_run(2, item_seconds=5), len(tasks)) as opened:
        killer.start()
        try:
            results = dict(opened.run_tasks(work_on, tasks))
        finally:
            ended.set()
            killer.join()
    assert len(kills) >= 10
    check_results(tasks, [results[number] for number in range(len(tasks))])


@dataclass(frozen=True)
class Leaking:
    """A task whose items take 40 MB each and keep it, or leave memory so that the third dies of it."""

    how: str
    items: int
    lost: dict[int, Rejection] = field(default_factory=dict)

    def count_items(self) -> int:
        return self.items

    def lose_items(self, lost: dict[int, Rejection]) -> "Leaking":
        return replace(self, lost=lost)


def leak(task: Leaking) -> int:
    kept = []
    for number in watch_items(range(task.items)):
        if number in task.lost:
            continue
        if task.how == "memory":
            kept.append(b"x" * (40 << 20))
            while len(kept) > 3:  # until it is seen
                time.sleep(0.06)
        else:
            kept.append(b"")
            if len(kept) == 3:
                os.abort()
    return len(kept)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("memory", "it takes more than the 128 MiB of a worker; raise run.memory; each of its items alone does not"),
        ("order", "its process died 3 times (SIGABRT); each of its items alone does not"),
    ],
)
def test_deaths_that_no_item_explains_are_an_error(how: str, complaint: str, workers: Executor) -> None:
    with pytest.raises(PipelineError) as caught:
        list(workers.run_tasks(leak, [Leaking(how, 5)]))
    assert str(caught.value) == f"leak of task 0 failed: {complaint}"
    assert list(workers.run_tasks(leak, [Leaking(how, 2)])) == [(0, 2)]


def kill_once(task: Items) -> list[str | Rejection]:
    """Somebody kills the process at the second item, the first time."""
    assert task.folder
    mark = task.folder / "killed"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work_on(task)


def test_an_item_killed_from_outside_is_not_lost(workers: Executor, tmp_path: Path) -> None:
    task = Items("a", ["good"] * 3, folder=tmp_path)
    check_results([task], [found for _, found in workers.run_tasks(kill_once, [task])])


def leave_a_child(task: Items) -> list[str | Rejection]:
    """The process ends at the second item, one that it started does not, and has its connection."""
    found: list[str | Rejection] = []
    for number, _ in enumerate(watch_items(task.kinds)):
        if number == 1 and number not in task.lost:
            child = os.fork()
            if child == 0:
                time.sleep(600)
                os._exit(0)
            assert task.folder
            (task.folder / f"child-{child}").touch()
            os._exit(3)
        found.append(task.lost.get(number, f"{task.name}-{number}"))
    return found


def test_a_death_is_noticed_though_a_child_process_lives(workers: Executor, tmp_path: Path) -> None:
    started = time.monotonic()
    [(_, found)] = workers.run_tasks(leave_a_child, [Items("a", ["good"] * 3, folder=tmp_path)])
    assert time.monotonic() - started < 300
    for path in tmp_path.glob("child-*"):
        kill(int(path.name.removeprefix("child-")))
    assert [getattr(each, "reason", each) for each in found] == ["a-0", Reason.DECODER_CRASHED, "a-2"]


SCRIPT = """
import sys
from pipeline.runtime.executor import run_tasks
from pipeline.config.params import RunParams
from tests.support.poison import Items, work_on

if __name__ == "__main__":
    workers, *kinds = sys.argv[1:]
    run = RunParams(workers=int(workers), memory="128 MiB", item_seconds=3, cache="cache", progress=False)
    for _, results in run_tasks(work_on, [Items("a", ["good", "good"]), Items("b", kinds)], run):
        print(*[getattr(result, "reason", result) for result in results], flush=True)
"""


def start_script(folder: Path, workers: int, *kinds: str) -> "subprocess.Popen[str]":
    """SCRIPT in a session of its own, at work in `folder`."""
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "script.py", str(workers), *kinds]
    root = str(Path(__file__).parents[2])
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_script(folder: Path, workers: int, *kinds: str) -> tuple[int, str]:
    """Return its exit status and output."""
    with start_script(folder, workers, *kinds) as process:
        said, _ = process.communicate(timeout=240)
    return process.returncode, said


def test_without_workers_the_next_run_isolates_what_killed_the_last(tmp_path: Path) -> None:
    assert run_script(tmp_path, 0, "good", "falls") == (-signal.SIGSEGV, "a-0 a-1\n")
    assert run_script(tmp_path, 0, "good", "falls") == (0, "a-0 a-1\nb-0 decoder_crashed\n")
    assert list((tmp_path / "cache/crash-markers").iterdir()) == []


def test_without_workers_a_hang_is_interrupted_once(tmp_path: Path) -> None:
    with start_script(tmp_path, 0, "loops") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a-0 a-1\n"
        wait_for_file(tmp_path / "cache" / "crash-markers")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert run_script(tmp_path, 0, "loops") == (0, "a-0 a-1\ntimeout\n")


def wait_for_file(folder: Path) -> None:
    wait_for(lambda: folder.is_dir() and len(list(folder.iterdir())) == 1)


def test_time_while_all_processes_were_stopped_does_not_count(tmp_path: Path) -> None:
    """As Ctrl-Z does it: the whole group, for longer than an item may take."""
    with start_script(tmp_path, 1, "waits", "good") as process:
        wait_for_file(tmp_path / "waits")
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(4)
        os.killpg(process.pid, signal.SIGCONT)
        said, _ = process.communicate(timeout=240)
    assert sorted(said.splitlines()) == ["a-0 a-1", "b-0 b-1"]


def test_machine_drops_end_the_run_unless_they_are_allowed() -> None:
    outcome = Outcome("item", 9, 6, DropCounts({Reason.TIMEOUT: 1, Reason.MEMORY: 1, Reason.FLAT: 1}))
    check_machine_drops(outcome, allowed=True)
    check_machine_drops(Outcome("item", 9, 8, DropCounts({Reason.FLAT: 1})), allowed=False)
    with pytest.raises(MachineDrops) as caught:
        check_machine_drops(outcome, allowed=False)
    message = str(caught.value)
    assert message.startswith("2 items were dropped because of this machine: 1 memory, 1 timeout; ")
    assert "run.item_seconds" in message
    assert "run.allow_machine_drops" in message
