"""A Dask cluster that somebody else started: used only if it is safe and equal; runs survive what dies in it."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from distributed.comm import CommClosedError

from pipeline.config.params import RunParams
from pipeline.errors import InputError, PipelineError
from pipeline.incremental.library_versions import describe_environment
from pipeline.runtime import check_cluster
from pipeline.runtime.check_cluster import (
    Describe,
    Environment,
    check_address,
    check_workers,
    describe_driver,
    probe_worker,
)
from pipeline.runtime.dask_executor import DaskExecutor
from pipeline.runtime.executor import open_executor, run_tasks
from pipeline.runtime.sandbox.find_bad_items import Call, make_call, run_call
from pipeline.runtime.sandbox.worker import SandboxLimits
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.worker_jobs import WorkerLost
from tests.support.clusters import StartedCluster, make_certificates, start_cluster
from tests.support.poison import Items, work_on
from tests.support.processes import kill, list_children, list_listening_addresses, read_proc, wait_until_gone
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]


def make_run(scheduler: str, cache: Path, **more: object) -> RunParams:
    given = {"workers": 0, "memory": "200 MiB", "item_seconds": 3, "cache": str(cache), "progress": False}
    return RunParams.model_validate({**given, "scheduler": scheduler, **more})


def make_tasks(seconds: float = 0.0, folder: Path | None = None) -> list[Items]:
    return [Items(f"{number}", ["good"] * 4, seconds, folder) for number in range(12)]


def list_results(run: RunParams, tasks: Sequence[Items]) -> list[Any]:
    results = dict(run_tasks(work_on, tasks, run))
    return [results[number] for number in range(len(tasks))]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedCluster]:
    with start_cluster(tmp_path_factory.mktemp("cluster"), workers=2) as started:
        yield started


def test_the_same_results_as_anywhere_with_poison_lost_alone(cluster: StartedCluster, tmp_path: Path) -> None:
    tasks = [*make_tasks(), Items("p", ["good", "falls", "loops", "grows", "good"])]
    here = RunParams(workers=2, memory="200 MiB", item_seconds=3, cache=str(tmp_path), progress=False)
    assert list_results(make_run(cluster.address, tmp_path), tasks) == list_results(here, tasks)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_nothing_of_a_run_is_left_on_the_workers(cluster: StartedCluster, tmp_path: Path) -> None:
    def list_all() -> set[int]:
        return {child for worker in cluster.workers for child in list_children(worker.pid)}

    before = list_all()  # some of them may be about to end
    list_results(make_run(cluster.address, tmp_path), make_tasks())
    wait_for(lambda: list_all() <= before)


def test_only_this_machine_can_reach_it(cluster: StartedCluster, tmp_path: Path) -> None:
    pytest.importorskip("psutil")
    with open_executor(make_run(cluster.address, tmp_path), 4) as workers:
        list(workers.run_tasks(work_on, make_tasks()))
        pids = [
            pid
            for process in [cluster.scheduler, *cluster.workers]
            for pid in (process.pid, *list_children(process.pid))
        ]
        assert set(list_listening_addresses([os.getpid(), *pids])) == {"127.0.0.1"}


def test_a_failing_task_is_named(cluster: StartedCluster, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"fail of task 0 failed: ZeroDivisionError: division by zero \(.*:\d+\)"):
        list(run_tasks(fail, [0], make_run(cluster.address, tmp_path)))


def fail(number: int) -> float:
    return 1 / number


@pytest.mark.parametrize(
    "victim", ["worker", *(pytest.param(name, marks=pytest.mark.sweep) for name in ("nanny", "processes of tasks"))]
)
def test_what_dies_in_it_does_not_change_the_results(victim: str, tmp_path: Path) -> None:
    tasks = make_tasks(0.05, tmp_path)
    expected = [[f"{number}-{item}" for item in range(4)] for number in range(12)]
    with start_cluster(tmp_path, workers=2) as cluster:
        nanny = cluster.workers[0].pid
        worker, *_ = [pid for pid in list_children(nanny) if "spawn_main" in (read_proc(pid, "cmdline") or "")]

        def kill_victim() -> None:
            wait_for(lambda: (tmp_path / "2-0").exists())
            pids = {"nanny": [nanny], "worker": [worker], "processes of tasks": list_children(worker)}[victim]
            assert pids
            for pid in pids:
                kill(pid)

        thread = threading.Thread(target=kill_victim)
        thread.start()
        assert list_results(make_run(cluster.address, tmp_path / "cache"), tasks) == expected
        thread.join()


SCRIPT = """
import sys
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.runtime.executor import run_tasks
from pipeline.runtime.sandbox.worker import SandboxLimits
from pipeline.runtime.sandbox.worker_pool import SandboxPool
from pipeline.runtime.sandbox.find_bad_items import Call, make_call, run_call
from pipeline.config.params import RunParams
from tests.support.poison import Items, work_on

if __name__ == "__main__":
    tasks = [Items(str(number), ["good"] * 4, 0.1, Path.cwd()) for number in range(40)]
    run = RunParams(workers=0, memory="200 MiB", cache="cache", progress=False, scheduler=sys.argv[1])
    try:
        list(run_tasks(work_on, tasks, run))
    except PipelineError as error:
        sys.exit(str(error))
"""


def start_script(folder: Path, address: str) -> "subprocess.Popen[str]":
    """SCRIPT at work in `folder` on a cluster."""
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "script.py", address]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_scheduler_that_dies_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=1) as cluster, start_script(tmp_path, cluster.address) as driver:
        wait_for((tmp_path / "2-0").exists)
        ours = list_children(cluster.workers[0].pid)
        cluster.scheduler.kill()
        _, complaint = driver.communicate(timeout=240)
        assert driver.returncode == 1
        assert complaint == (
            f"the Dask scheduler at {cluster.address} is gone: start it and its workers again, then run this again; "
            "finished items are in the cache\n"
        )
        wait_until_gone(ours)


def test_a_scheduler_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    gone = "^the Dask scheduler at tcp://127.0.0.1:[0-9]+ is gone: start it"
    with start_cluster(tmp_path, 1) as cluster, open_executor(make_run(cluster.address, tmp_path), 4) as workers:
        results = workers.run_tasks(work_on, make_tasks(0.05))
        next(results)
        assert isinstance(workers, DaskExecutor)
        cluster.scheduler.kill()
        for _ in range(2):  # the client finds out; it knows
            with pytest.raises(PipelineError, match=gone):
                workers.count_threads()
        with pytest.raises(PipelineError, match=gone):
            workers.submit(work_on, make_tasks()[:1])
        with pytest.raises(PipelineError, match=gone):
            list(results)


class JobOfAClosedConnection:
    """A job that has ended, whose report does not arrive."""

    key = "a-0"

    def result(self, timeout: float) -> None:
        raise CommClosedError("in <TCP (closed) ConnectionPool.gather>: Connection reset by peer")


def test_a_connection_that_closes_under_a_report_is_a_loss_or_the_end(tmp_path: Path) -> None:
    with start_cluster(tmp_path, 1) as cluster, open_executor(make_run(cluster.address, tmp_path), 4) as workers:
        assert isinstance(workers, DaskExecutor)
        with pytest.raises(WorkerLost):  # the task runs again where the scheduler still answers
            workers.read_report(JobOfAClosedConnection(), "a")
        assert workers.count_threads() == 1


def test_a_driver_that_dies_leaves_nothing_at_work(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=1) as cluster, start_script(tmp_path, cluster.address) as driver:
        wait_for((tmp_path / "2-0").exists)
        driver.kill()
        driver.communicate()
        begun = -1  # items: 160 would be all, 0.1 s of work each
        while begun != (begun := len(list(tmp_path.glob("*-*")))):
            time.sleep(3)
        assert begun < 160


def test_tls(tmp_path: Path) -> None:
    authority, certificate, key = make_certificates(tmp_path)
    files = ["--tls-ca-file", str(authority), "--tls-cert", str(certificate), "--tls-key", str(key)]
    keys = {"tls_ca": str(authority), "tls_cert": str(certificate), "tls_key": str(key)}
    with start_cluster(tmp_path, 1, ["--protocol", "tls", *files]) as cluster:
        assert cluster.address.startswith("tls://127.0.0.1:")
        run = make_run(cluster.address, tmp_path / "cache", **keys)
        assert list_results(run, [Items("a", ["good", "falls"])])[0][0] == "a-0"
        (tmp_path / "other").mkdir()
        _, certificate, key = make_certificates(tmp_path / "other")
        other = {**keys, "tls_cert": str(certificate), "tls_key": str(key)}
        with pytest.raises(PipelineError, match=f"^no Dask scheduler answers at {cluster.address}"):
            list_results(make_run(cluster.address, tmp_path / "cache", **other), make_tasks())


def test_workers_outside_the_checkout_and_folders_that_they_do_not_see(tmp_path: Path) -> None:
    with start_cluster(tmp_path, 1, cwd=tmp_path) as cluster, pytest.raises(PipelineError) as caught:
        list_results(make_run(cluster.address, tmp_path / "cache"), make_tasks())
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the cluster at {cluster.address} cannot be used"
    assert "it does not find this project's code" in lines[1]
    assert "in the checkout" in lines[1]


def test_an_address_without_scheduler(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^no Dask scheduler answers at tcp://127\.0\.0\.1:9: "):
        list_results(make_run("tcp://127.0.0.1:9", tmp_path), make_tasks())


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("tcp://10.0.0.5:8786", "is not this machine: without TLS anybody"),
        ("tcp://cluster.example:8786", "is not this machine: without TLS anybody"),
        ("tcp://localhost.example:8786", "is not this machine: without TLS anybody"),
        ("tls://cluster.example:8786", r"set run\.tls_ca, run\.tls_cert, run\.tls_key too"),
        ("127.0.0.1:8786", r"write tcp://127\.0\.0\.1:8786, or tls://HOST:PORT"),
        ("tcp://127.0.0.1", r"write tcp://"),
        ("tcp://127.0.0.1:99999", r"write tcp://"),
        ("ws://127.0.0.1:8786", r"write tcp://.* let run\.client name a function that returns its dask"),
        ("gateway://h:1/x", r"write tcp://.* let run\.client name a function"),
        ("", r"write tcp://"),
    ],
)
def test_addresses_that_are_refused(address: str, complaint: str) -> None:
    with pytest.raises(PipelineError, match=complaint):
        check_address(make_run(address, Path("cache")))


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1", "tcp://127.3.0.1:2"]
)
def test_addresses_of_this_machine(address: str) -> None:
    check_address(make_run(address, Path("cache")))


def test_a_missing_certificate(tmp_path: Path) -> None:
    authority, certificate, _ = map(str, make_certificates(tmp_path))
    keys = {"tls_ca": authority, "tls_cert": certificate, "tls_key": "nowhere.pem"}
    with pytest.raises(PipelineError, match=r"^run\.tls_key is nowhere\.pem: there is no such file$"):
        check_address(make_run("tls://h:1", tmp_path, **keys))


HERE = describe_driver("a-run", partial(describe_environment, ("stages.clean", "stages.extract")))


@pytest.fixture
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is known of source and libraries: reading it anew takes a second."""
    monkeypatch.setattr(check_cluster, "forget_versions", lambda: None)


def check_answers(folder: Path, changes: Mapping[str, str | None]) -> None:
    """Ask one worker, on this machine, whose environment is changed so; None: it has no such library."""

    def ask(probe: Any, tokens: Sequence[tuple[str, str]], describe: Describe) -> Mapping[str, Any]:
        answer = probe(tokens, describe)
        environment = {**answer["environment"], **changes}
        return {"tcp://127.0.0.1:5": {**answer, "environment": {n: v for n, v in environment.items() if v is not None}}}

    check_workers("tcp://127.0.0.1:1", ask, [folder], HERE)


def test_workers_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_cluster, "VISIBLE_WITHIN", 0.1)
    check_answers(tmp_path, {})
    with pytest.raises(PipelineError, match="has another version of this project's code: bring its checkout"):
        check_answers(tmp_path, {"code": "0" * 64})
    with pytest.raises(PipelineError, match="could not be asked: ValueError: no"):
        check_workers("tcp://127.0.0.1:1", lambda *_: {"tcp://127.0.0.1:5": ValueError("no")}, [], HERE)
    error = InputError("extract.text.model is 'x', which is not installed")
    with pytest.raises(PipelineError, match=r"5: extract\.text\.model is 'x', which is not installed"):
        check_workers("tcp://127.0.0.1:1", lambda *_: {"tcp://127.0.0.1:5": error}, [], HERE)
    unseen = probe_worker([(str(tmp_path / "elsewhere" / "token"), "x")], dict)["unseen"]
    assert unseen == [str(tmp_path / "elsewhere/token")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("name", sorted(HERE.expected.keys() - {"code"}))
def test_a_worker_must_have_the_drivers_libraries_and_processor(name: str, tmp_path: Path) -> None:
    here = re.escape(HERE.expected[name])
    message = (
        f"5: on {socket.gethostname()} it has {name} 0.0.9, the driver has {here}: (install|use machines of one type)"
    )
    with pytest.raises(PipelineError, match=message):
        check_answers(tmp_path, {name: "0.0.9"})
    with pytest.raises(PipelineError, match=f"it has {name} none, the driver has {here}"):
        check_answers(tmp_path, {name: None})


def test_a_library_that_only_the_worker_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"it has spacy-transformers 1\.3, the driver has none"):
        check_answers(tmp_path, {"spacy-transformers": "1.3"})


def test_a_worker_that_joined_late_is_compared_too() -> None:
    HERE.check_late_worker()
    other = Environment("b-run", HERE.describe, {**HERE.expected, "av": "0.0.9"})
    message = f"^a worker that joined late cannot be used: on {socket.gethostname()} it has av .*, the driver has 0.0.9"
    for _ in range(2):
        with pytest.raises(PipelineError, match=message):
            other.check_late_worker()


@pytest.mark.parametrize(
    ("folder", "source", "complaint"),
    [
        (".", "0" * 64, "has another version of tests.support.poison or of what it imports"),
        ("/nowhere/at/all", None, "cannot enter /nowhere/at/all: data, cache and code must be under the same path"),
    ],
)
def test_a_late_worker_is_refused_by_its_first_task(folder: str, source: str | None, complaint: str) -> None:
    host = SandboxPool(SandboxLimits(1 << 30, 1))
    call = Call(make_call(work_on, Items("a", ["good"])).payload, folder, source)
    try:
        with pytest.raises(PipelineError, match=f"^a worker on {socket.gethostname()} {complaint}"):
            run_call(host, call).read("work_on of a")
    finally:
        host.close()
