"""Workers that come late, leave and come back; clusters by a client; environments that workers must share."""

import io
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.check_items import hash_check
from pipeline.clean.params import CleanParams
from pipeline.clean.step import describe_checks
from pipeline.config.params import RunParams
from pipeline.errors import ParamsError, PipelineError
from pipeline.extract.provenance import describe_features
from pipeline.incremental import cache_key
from pipeline.incremental.library_versions import describe_environment
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.check_cluster import check_client_address, check_worker_addresses, is_private
from pipeline.runtime.dask_executor import DaskExecutor
from pipeline.runtime.executor import open_executor, run_tasks
from pipeline.runtime.worker_wait import WorkerWait
from tests.support import client_functions
from tests.support.client_functions import STARTED
from tests.support.clusters import kill_tree, start_cluster
from tests.support.factory_extract import make_params
from tests.support.poison import Items, work_on
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")]

FUNCTIONS = client_functions.__name__
EXPECTED = {number: [f"{number}-{item}" for item in range(4)] for number in range(12)}


def make_run(cache: Path, **more: object) -> RunParams:
    given = {"workers": 0, "memory": "200 MiB", "cache": str(cache), "progress": False, "wait_for_workers": 120}
    return RunParams.model_validate({**given, **more})


def make_tasks(seconds: float = 0.0, folder: Path | None = None) -> list[Items]:
    return [Items(f"{number}", ["good"] * 4, seconds, folder) for number in EXPECTED]


@pytest.fixture(autouse=True)
def no_cluster_is_left() -> Iterator[None]:
    STARTED.clear()
    yield
    assert [cluster.status.name for cluster in STARTED if cluster.status.name != "closed"] == []


def run_meanwhile(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act)
    thread.start()
    return thread


# Late, lost, and back


def test_workers_that_come_late_and_are_all_lost_are_waited_for(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=0) as cluster, redirect_stderr(io.StringIO()) as stderr:

        def come_and_go() -> None:
            wait_for(lambda: "has 0 workers" in stderr.getvalue())
            first = cluster.start_worker()
            wait_for((tmp_path / "2-0").exists)
            kill_tree(first)
            wait_for(lambda: stderr.getvalue().count("has 0 workers") == 2)
            cluster.start_worker()

        thread = run_meanwhile(come_and_go)
        run = make_run(tmp_path / "cache", scheduler=cluster.address)
        assert dict(run_tasks(work_on, make_tasks(0.05, tmp_path), run)) == EXPECTED
        thread.join()
    waits = (
        f"the cluster at {cluster.address} has 0 workers: waiting for one, 120 s at most (run.wait_for_workers); start "
        "some, or see whether those that you asked for are queued or failed"
    )
    come = f"the cluster at {cluster.address} has workers: 1 threads"
    assert stderr.getvalue().splitlines() == [waits, come, waits, come]


@pytest.mark.sweep
def test_a_worker_that_comes_after_90_seconds(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=0) as cluster, redirect_stderr(io.StringIO()) as stderr:

        def come() -> None:
            wait_for(lambda: "has 0 workers" in stderr.getvalue())
            time.sleep(90)
            cluster.start_worker()

        thread = run_meanwhile(come)
        run = make_run(tmp_path / "cache", scheduler=cluster.address, wait_for_workers=300)
        assert dict(run_tasks(work_on, make_tasks(), run)) == EXPECTED
        thread.join()


def test_the_wait_has_a_limit(tmp_path: Path) -> None:
    limits = {
        0.5: r"has had no workers for 0\.5 s \(run\.wait_for_workers\): start some, or set it higher if they are only",
        0: r"has no workers, and run\.wait_for_workers is 0: start some, or set it to the seconds to wait",
    }
    with start_cluster(tmp_path, workers=0) as cluster, redirect_stderr(io.StringIO()) as stderr:
        for limit, message in limits.items():
            run = make_run(tmp_path / "cache", scheduler=cluster.address, wait_for_workers=limit)
            with pytest.raises(PipelineError, match=f"^the cluster at {cluster.address} {message}"):
                list(run_tasks(work_on, make_tasks(), run))
    assert stderr.getvalue().count("\n") == 1


def test_the_time_runs_anew_after_each_loss() -> None:
    wait = WorkerWait("tls://h:1", 0.05)
    with redirect_stderr(io.StringIO()) as stderr:
        for threads in (2, 0, 1, 0):
            wait.note_threads(threads)
        time.sleep(0.06)
        with pytest.raises(PipelineError, match=r"^the cluster at tls://h:1 has had no workers for 0\.05 s"):
            wait.note_threads(0)
    assert [line.split(":1 ")[1].split(":")[0] for line in stderr.getvalue().splitlines()] == [
        "has 0 workers",
        "has workers",
        "has 0 workers",
    ]


@pytest.mark.sweep
def test_the_wait_in_the_middle_has_the_limit_too(tmp_path: Path) -> None:
    with start_cluster(tmp_path, workers=1) as cluster, redirect_stderr(io.StringIO()) as stderr:

        def leave() -> None:
            wait_for((tmp_path / "2-0").exists)
            kill_tree(cluster.workers[0])

        thread = run_meanwhile(leave)
        run = make_run(tmp_path / "cache", scheduler=cluster.address, wait_for_workers=1)
        with pytest.raises(PipelineError, match=r"has had no workers for 1 s .* finished items are in the cache"):
            list(run_tasks(work_on, make_tasks(0.05, tmp_path), run))
        thread.join()
    assert "has 0 workers: waiting for one, 1 s at most" in stderr.getvalue()


# Clusters by a client


def test_an_adaptive_cluster_of_a_client_function_grows(tmp_path: Path) -> None:
    run = make_run(tmp_path, client=f"{FUNCTIONS}:open_adaptive_client")
    results: dict[int, Any] = {}
    most = 0
    with redirect_stderr(io.StringIO()) as stderr, open_executor(run, 12) as workers:
        assert isinstance(workers, DaskExecutor)
        for number, result in workers.run_tasks(work_on, make_tasks(0.05)):
            results[number] = result
            most = max(most, workers.count_threads())
    assert results == EXPECTED
    assert most == 2
    assert "has 0 workers: waiting for one" in stderr.getvalue()


def test_a_client_with_a_security_object(tmp_path: Path) -> None:
    run = make_run(tmp_path, client=f"{FUNCTIONS}:make_tls_client")
    with open_executor(run, 12) as workers:
        assert dict(workers.run_tasks(work_on, make_tasks())) == EXPECTED
        assert STARTED[0].scheduler_address.startswith("tls://")


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        (
            f"{FUNCTIONS}:give_nothing",
            r"which failed: TypeError: .*NoneType' object does not support the context manager",
        ),
        (
            f"{FUNCTIONS}:give_cluster",
            r"which gave LocalCluster\(.*; it must give a connected dask\.distributed\.Client",
        ),
        (f"{FUNCTIONS}:fail", "which failed: ConnectionError: no queue answers"),
    ],
)
def test_client_functions_that_give_no_client(path: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=f"^run.client is {path}, {complaint}"):
        list(run_tasks(work_on, make_tasks(), make_run(tmp_path, client=path)))


def test_client_functions_that_do_not_exist(tmp_path: Path) -> None:
    for path, complaint in [("no_such:f", "there is no module no_such"), (f"{FUNCTIONS}:f", "has no f; name one")]:
        with pytest.raises(ParamsError, match=f"params.yaml: run.client is {path}, but .*{complaint}"):
            list(run_tasks(work_on, make_tasks(), make_run(tmp_path, client=path)))


def test_a_cluster_that_cannot_be_closed_is_said(tmp_path: Path) -> None:
    path = f"{FUNCTIONS}:fail_to_close"
    with redirect_stderr(io.StringIO()) as stderr:
        assert dict(run_tasks(work_on, make_tasks(), make_run(tmp_path, client=path))) == EXPECTED
    assert stderr.getvalue() == (
        f"run.client is {path}, whose cluster could not be closed: ConnectionError: no queue answers; see whether its "
        "workers still run\n"
    )


def test_addresses_that_others_can_reach_are_refused() -> None:
    for address in ("tls://10.0.0.5:1", "wss://h:1", "gateway://h:1/c", "inproc://10.0.0.5/7/1", "ucx://127.0.0.1:1"):
        assert is_private(address)
        check_client_address("m:f", address)
    for address in ("tcp://10.0.0.5:1", "ws://h:1", "ucx://10.0.0.5:1", "10.0.0.5:1"):
        with pytest.raises(
            PipelineError, match=f"^run.client is m:f, whose scheduler is at {address}, which is not this"
        ):
            check_client_address("m:f", address)
        with pytest.raises(PipelineError, match=f"^worker {address}: it is reached over the network without TLS"):
            check_worker_addresses(["tcp://127.0.0.1:1", address])


# What workers must share


def test_a_late_worker_with_another_library_is_refused(tmp_path: Path) -> None:
    """A worker whose metadata names another PyAV, which registers after the others were checked."""
    (tmp_path / "other/av-0.0.9.dist-info").mkdir(parents=True)
    (tmp_path / "other/av-0.0.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: av\nVersion: 0.0.9\n")
    describe = partial(describe_environment, ("stages.extract",))
    message = (
        f"^a worker that joined late cannot be used: on {re.escape(socket.gethostname())} it has av 0.0.9, the driver"
    )
    with start_cluster(tmp_path, workers=0) as cluster:
        cluster.start_worker()
        cluster.wait_for_workers(1)
        run = make_run(tmp_path / "cache", scheduler=cluster.address)
        with open_executor(run, 12, describe=describe) as workers:
            cluster.start_worker(environment={"PYTHONPATH": str(tmp_path / "other")})
            cluster.wait_for_workers(2)
            with pytest.raises(PipelineError, match=message):
                list(workers.run_tasks(work_on, make_tasks(0.2)))


@pytest.mark.parametrize("modality", sorted(MODALITIES))
def test_all_that_cache_keys_hold_is_compared(modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keyed: dict[str, str] = {}

    def record(*arguments: Any) -> dict[str, str]:
        keyed.update(found := describe_environment(*arguments))
        return found

    monkeypatch.setattr(cache_key, "describe_environment", record)
    hash_check(modality, CleanParams())
    assert keyed.items() <= describe_checks().items()
    keyed.clear()
    params = make_params()
    known = MODALITIES[modality]
    compute = known.learning.parse if known.learning else known.extract
    cache_key.hash_method("features", [compute], {}, known.libraries)
    keyed |= known.describe(params.features[modality])
    assert keyed.items() <= describe_features(params, [modality]).items()
    assert {"vector instructions", "processor type", "Python", "Unicode tables"} < keyed.keys()


def test_the_libraries_of_all_modalities_are_compared() -> None:
    compared = describe_features(make_params(), MODALITIES).keys()
    assert compared >= {
        "av",
        "tokenizers",
        "isal",
        "librosa",
        "numpy",
        "scipy",
        "soundfile",
        "soxr",
        "spacy",
        "pyarrow",
    }
    assert any(name.startswith("opencv") for name in compared)
