"""Functions for `run.client`: each starts a cluster in this process and gives a client of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster
from distributed.security import Security

QUIET = {"processes": False, "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}

STARTED: list[Any] = []
"""The clusters that these functions started."""


def start_cluster(**options: Any) -> LocalCluster:
    STARTED.append(
        LocalCluster(**{"threads_per_worker": 1, "scheduler_kwargs": {"dashboard": False}} | QUIET | options)
    )
    return STARTED[-1]


@contextmanager
def open_adaptive_client() -> Iterator[Client]:
    """A cluster without workers, which starts up to two for tasks: as those of dask-jobqueue and dask-gateway do."""
    with start_cluster(n_workers=0) as cluster:
        cluster.adapt(minimum=0, maximum=2, interval="50ms", target_duration="200ms")
        with cluster.get_client() as client:
            yield client


def make_tls_client() -> Client:
    """A client with a security object, of a cluster that demands certificates."""
    security = Security.temporary()
    return Client(start_cluster(n_workers=1, protocol="tls://", security=security), security=security)


def give_nothing() -> None:
    return None


def give_cluster() -> LocalCluster:
    return start_cluster(n_workers=0)


def fail() -> Client:
    raise ConnectionError("no queue answers")


@contextmanager
def fail_to_close() -> Iterator[Client]:
    with start_cluster(n_workers=1) as cluster, Client(cluster) as client:
        yield client
    raise ConnectionError("no queue answers")
