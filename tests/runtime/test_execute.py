"""Run tasks anywhere: the same results, no open ports, no processes left behind, one clear error."""

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config.params import RunParams
from pipeline.errors import InputError, PipelineError
from pipeline.runtime.dask_executor import DaskExecutor
from pipeline.runtime.executor import Executor, open_executor, run_tasks
from pipeline.runtime.sandbox.fork_server import ONE_THREAD
from tests.support.processes import kill, list_children, list_listening_addresses, wait_until_gone
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and uses Linux's parent death signal")


def make_run(workers: int, memory: str = "1 GiB") -> RunParams:
    return RunParams(workers=workers, memory=memory, cache=".cache", progress=False)


@dataclass(frozen=True)
class Named:
    name: str
    folder: Path


def square_late(number: int) -> int:
    time.sleep(0.02 * (number % 3))
    return number * number


def read_environment(number: int) -> dict[str, str]:
    return dict(os.environ)


def count_threads(number: int) -> set[int]:
    import numpy  # noqa: F401 - loads a BLAS
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info()}


def count_bytes(data: bytes) -> int:
    return len(data)


def mark_start(task: Named) -> str:
    (task.folder / task.name).touch()
    time.sleep(0.01)
    return task.name


def fail_with_value(task: Named) -> None:
    error = ValueError("not a number of mine")
    error.add_note("while extracting sample a-1")
    raise error


def fail_with_input(task: Named) -> None:
    raise InputError("items-000003.tar was cut")


def die_once(task: Named) -> str:
    mark = task.folder / task.name
    if task.name == "poison" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task.name


def die_twice(task: Named) -> str:
    marks = [task.folder / f"{task.name}.{number}" for number in range(2)]
    for mark in marks:
        if task.name == "poison" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return task.name


def die_always(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def grow_once(task: Named) -> str:
    mark = task.folder / task.name
    if not mark.exists():
        mark.touch()
        grown = []
        while True:
            grown.append(bytearray(b"x") * (16 << 20))
            time.sleep(0.01)
    return task.name


@pytest.fixture(scope="module")
def workers() -> Iterator[Executor]:
    with open_executor(make_run(2), tasks=100) as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_task_gives_its_result_once(count: int) -> None:
    tasks = list(range(7))
    results = list(run_tasks(square_late, tasks, make_run(count)))
    assert sorted(results) == [(number, number * number) for number in tasks]


def test_no_tasks_need_no_workers() -> None:
    assert list(run_tasks(square_late, [], make_run(2))) == []


def test_kinds_of_tasks_share_workers(workers: Executor) -> None:
    assert sorted(workers.run_tasks(square_late, [2, 3])) == [(0, 4), (1, 9)]
    assert sorted(workers.run_tasks(square_late, [5, 4])) == [(0, 25), (1, 16)]


def test_two_long_tasks_a_worker_are_submitted(
    workers: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.runtime.task_batching.BATCH_SECONDS", 0.0)  # every task is longer
    tasks = [Named(f"task-{number:02d}", tmp_path) for number in range(30)]
    for done, _ in enumerate(workers.run_tasks(mark_start, tasks), start=1):
        assert len(list(tmp_path.iterdir())) <= done + 4


def test_results_may_be_left_unread(workers: Executor) -> None:
    results = workers.run_tasks(square_late, list(range(20)))
    next(results)
    results.close()  # type: ignore[attr-defined] # a generator, which the protocol does not promise
    assert list(workers.run_tasks(square_late, [3])) == [(0, 9)]


def test_threads_are_pinned_whatever_the_caller_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with open_executor(make_run(1), tasks=2) as opened:
        ((_, environment),) = opened.run_tasks(read_environment, [0])
        ((_, threads),) = opened.run_tasks(count_threads, [0])
    assert {name: environment[name] for name in ONE_THREAD} == ONE_THREAD
    assert threads == {1}
    assert dict(os.environ) == before


def test_threads_are_pinned_in_this_process() -> None:
    assert list(run_tasks(count_threads, [0], make_run(0))) == [(0, {1})]


def test_only_this_machine_can_reach_the_workers(workers: Executor) -> None:
    pytest.importorskip("psutil")
    assert set(list_listening_addresses([os.getpid(), *list_children(os.getpid())])) == {"127.0.0.1"}


def test_a_taken_dashboard_port_is_no_warning() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # another process has taken it
            taken.bind(("127.0.0.1", 8787))
            taken.listen()
        assert list(run_tasks(square_late, [3], make_run(1))) == [(0, 9)]


def test_a_failure_names_the_task_the_line_and_the_notes(workers: Executor, tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        list(workers.run_tasks(fail_with_value, [Named("train-000003.tar", tmp_path)]))
    message = str(caught.value)
    assert message.startswith("fail_with_value of train-000003.tar failed: ValueError: not a number of mine (")
    assert "test_execute.py:" in message
    assert message.endswith("; while extracting sample a-1")


@pytest.mark.parametrize("count", [0, 1])
def test_a_pipeline_error_passes_unchanged(count: int, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(run_tasks(fail_with_input, [Named("train-000003.tar", tmp_path)], make_run(count)))
    assert str(caught.value) == "items-000003.tar was cut"


def test_in_this_process_an_error_keeps_its_type_and_gets_a_note(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a number of mine") as caught:
        list(run_tasks(fail_with_value, [Named("train-000003.tar", tmp_path)], make_run(0)))
    assert caught.value.__notes__[-1] == "in fail_with_value of train-000003.tar"


def test_a_task_whose_worker_was_killed_runs_again(workers: Executor, tmp_path: Path) -> None:
    tasks = [Named(name, tmp_path) for name in ("a", "poison", "b", "c")]
    assert sorted(workers.run_tasks(die_once, tasks)) == list(enumerate(["a", "poison", "b", "c"]))


def test_a_task_whose_worker_was_killed_twice_runs_again(workers: Executor, tmp_path: Path) -> None:
    names = ["a", "poison", *"bcdefgh"]
    results = list(workers.run_tasks(die_twice, [Named(name, tmp_path) for name in names]))
    assert sorted(results) == list(enumerate(names))


def test_a_task_that_grows_too_large_loses_its_worker_not_the_machine(tmp_path: Path) -> None:
    run = make_run(1, memory="384 MiB")
    assert list(run_tasks(grow_once, [Named("large", tmp_path)], run)) == [(0, "large")]


def test_a_task_that_always_kills_its_worker_is_named_and_no_other() -> None:
    with pytest.raises(PipelineError, match=r"die_always of task 1 failed: its process was killed 6 times \(SIGKILL\)"):
        list(run_tasks(die_always, [0, 1, 2], make_run(1)))


@dataclass(frozen=True)
class Heavy:
    """A task that, with `waits`, ends only when another one has run beside it."""

    name: str
    folder: Path
    estimated_bytes: int
    waits: bool


def count_running(task: Heavy) -> int:
    """Return how many tasks run at the same time as this one."""
    (task.folder / f"{task.name}.running").touch()
    together = 0
    deadline = time.monotonic() + (120 if task.waits else 0.05)
    while not together or (time.monotonic() < deadline and not (task.folder / "met").exists()):
        together = max(together, len(list(task.folder.glob("*.running"))))
        if task.waits and together > 1:
            (task.folder / "met").touch()
        time.sleep(0.005)
    (task.folder / f"{task.name}.running").unlink()
    return together


@pytest.mark.parametrize(("size", "together"), [(1 << 20, 2), (1500 << 20, 1), (9000 << 20, 1)])
def test_tasks_that_need_much_memory_wait_for_each_other(
    size: int, together: int, workers: Executor, tmp_path: Path
) -> None:
    tasks = [Heavy(str(number), tmp_path, size, together > 1) for number in range(8)]
    assert max(count for _, count in workers.run_tasks(count_running, tasks)) == together


def name_processes(number: int) -> tuple[int, int]:
    time.sleep(0.05)
    return os.getpid(), os.getppid()


@LINUX
@pytest.mark.parametrize("forker", [False, True])
def test_processes_that_are_killed_are_replaced(forker: bool, workers: Executor) -> None:
    before = {pids[forker] for _, pids in workers.run_tasks(name_processes, list(range(8)))}
    for pid in before:
        kill(pid)
    after = {pids[forker] for _, pids in workers.run_tasks(name_processes, list(range(8)))}
    assert not before & after
    seen: set[int] = set()
    for _, pids in workers.run_tasks(name_processes, list(range(40))):
        if not seen:
            kill(pids[forker])  # while others are at work
        seen.add(pids[0])
    assert 2 <= len(seen) <= 6


def test_memory_that_a_task_took_is_returned(workers: Executor) -> None:
    assert max(size for _, size in workers.run_tasks(take_memory, list(range(12)))) < 150 << 20


def take_memory(number: int) -> int:
    """Bytes that this process has before it takes 50 MB more."""
    from pipeline.runtime.sandbox.memory_usage import measure_memory

    size = measure_memory(os.getpid())
    assert size
    assert len(b"x" * (50 << 20)) > 0
    return size


SCRIPT = """
import ctypes, os, sys, time
from pathlib import Path
from pipeline.runtime.executor import run_tasks
from pipeline.config.params import RunParams

def report(number):
    Path(f"{os.getpid()}.pid").touch()

def sleep(number):
    report(number)
    time.sleep(600)

def hold_the_interpreter(number):
    report(number)
    ctypes.PyDLL(None).sleep(600)

if __name__ == "__main__":
    run = RunParams(workers=2, memory="1 GiB", cache=".cache", progress=False)
    try:
        list(run_tasks(globals()[sys.argv[1]], [0, 1, 2], run))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start_script(function: str, folder: Path) -> subprocess.Popen[str]:
    """SCRIPT in a process and a process group of its own, at work in `folder`."""
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script), function]
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


def wait_for_workers(folder: Path, count: int) -> list[int]:
    wait_for(lambda: len(list(folder.glob("*.pid"))) == count)
    return [int(path.stem) for path in folder.glob("*.pid")]


@LINUX
@pytest.mark.parametrize("function", ["sleep", "hold_the_interpreter"])
def test_workers_die_with_their_parent(function: str, tmp_path: Path) -> None:
    with start_script(function, tmp_path) as parent:
        pids = wait_for_workers(tmp_path, 2)
        parent.kill()
        wait_until_gone(pids)


def test_tasks_print_nothing(tmp_path: Path) -> None:
    with start_script("report", tmp_path) as parent:
        assert parent.communicate(timeout=240) == ("", "")
        assert parent.returncode == 0


@pytest.mark.parametrize(("error", "said"), [(TimeoutError("Timeout"), 0), (ValueError("a fault"), 1)])
def test_a_wait_that_dask_left_is_not_logged(error: Exception, said: int, caplog: pytest.LogCaptureFixture) -> None:
    async def leave_future() -> None:
        asyncio.get_running_loop().create_future().set_exception(error)
        gc.collect()

    caplog.set_level(logging.ERROR, logger="asyncio")  # importing DVC in this process raises it
    with open_executor(make_run(2), 2) as workers:
        assert isinstance(workers, DaskExecutor)
        workers._client.sync(leave_future)
    assert len([record for record in caplog.records if record.name == "asyncio"]) == said


@LINUX
def test_an_interrupt_ends_all_processes_quietly(tmp_path: Path) -> None:
    with start_script("sleep", tmp_path) as parent:
        pids = wait_for_workers(tmp_path, 2)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        assert parent.communicate(timeout=240) == ("", "")
        assert parent.returncode == 130
        wait_until_gone(pids)


def test_the_driver_does_not_keep_what_it_sent() -> None:
    tasks = [bytes([number]) * 500_000 for number in range(100)]
    with open_executor(make_run(2), len(tasks)) as workers:
        tracemalloc.start()
        try:
            assert {size for _, size in workers.run_tasks(count_bytes, tasks)} == {500_000}
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept < 25_000_000, "of 50 MB, twice"
