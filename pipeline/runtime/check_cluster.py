"""Check a cluster that somebody else started before it gets any work: its address, its files, its code and libraries.

A Dask worker runs whatever it is sent, so an address that others can reach must be encrypted and demand certificates.
Tasks carry file names, and their code is that on the worker's own disk: both must be the driver's. Cache keys hold the
driver's libraries and processor type: the workers must have the same.
"""

import ipaddress
import os
import platform
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.incremental.library_versions import PROCESSOR, PYTHON, VECTORS, describe_environment, forget_versions
from pipeline.incremental.module_sources import hash_plugins, hash_source

VISIBLE_WITHIN = 5.0
"""Seconds for a new file to become visible on other machines: a network file system caches the listing of a folder."""

CODE = "code"
"""Name of the hash of the code that hands tasks to their processes. That of a task's own code is checked by its
process."""

PLUGINS = "the code in plugins/"
"""Name of the hash of the user's own code."""

PRIVATE_SCHEMES = ("tls", "wss", "gateway", "inproc")
"""Schemes of Dask's addresses that need a certificate to connect (dask-gateway's is TLS), or stay in one process. All
others (`tcp`, `ws`, `ucx`) are open to whoever reaches them."""

EXECUTOR = "pipeline.runtime.executor"

Describe = Callable[[], Mapping[str, str]]
"""Returns by name what must be the same on all machines. It is pickled, and runs on the driver and on every worker."""

Ask = Callable[..., Mapping[str, Any]]
"""Runs a function with its arguments on every worker; returns by address what it returned, or the exception."""


def describe_executor() -> dict[str, str]:
    """Return by name what every run needs to be the same: the executor's code and libraries, and Python."""
    return {
        **describe_environment([EXECUTOR]),
        PYTHON: platform.python_version(),  # some functions are pickled as bytecode
        CODE: hash_source(EXECUTOR),
        PLUGINS: hash_plugins(),
    }


@dataclass(frozen=True)
class Environment:
    """The driver's environment, which each worker compares with its own.

    Attributes:
        run: name of the run.
        describe: returns what the run's tasks depend on.
        expected: what it returned on the driver, and `describe_executor`.
    """

    run: str
    describe: Describe
    expected: Mapping[str, str]

    def check_late_worker(self) -> None:
        """Compare this process, a worker that may have joined after `check_workers`; computed once a run.

        Raises:
            PipelineError: it differs; the message has this host, the first difference and what to do.
        """
        with _comparing:  # a worker has many threads, and they begin together
            if self.run not in _differences:
                here = {**self.describe(), **describe_executor()}
                _differences[self.run] = list(compare_environments(self.expected, here))
        for difference in _differences[self.run]:
            raise PipelineError(f"a worker that joined late cannot be used: on {socket.gethostname()} it {difference}")


_differences: dict[str, list[str]] = {}  # of this worker from the driver, by run
_comparing = threading.Lock()


def describe_driver(run: str, describe: Describe) -> Environment:
    """Return the environment of this process."""
    return Environment(run, describe, {**describe(), **describe_executor()})


def check_address(run: RunParams) -> None:
    """Refuse an address that others could reach, or listen to, without a certificate.

    Raises:
        PipelineError: the message has the address and what to write instead.
    """
    address = run.scheduler or ""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _read_port(address):
        raise PipelineError(
            f"run.scheduler is {address!r}: write tcp://127.0.0.1:8786, or tls://HOST:PORT; for any other cluster, let "
            "run.client name a function that returns its dask.distributed.Client (see docs/clusters.md)"
        )
    if not is_private(address):
        raise PipelineError(
            f"run.scheduler is {address}, which is not this machine: without TLS anybody who can reach it could run "
            "any program there. Start it with certificates and write tls:// (see docs/clusters.md)"
        )
    missing = [name for name in ("tls_ca", "tls_cert", "tls_key") if not getattr(run, name)]
    if parts.scheme == "tls" and missing:
        raise PipelineError(f"run.scheduler is {address}: set run.{', run.'.join(missing)} too")
    for name in ("tls_ca", "tls_cert", "tls_key"):
        path = getattr(run, name)
        if path and not Path(path).is_file():
            raise PipelineError(f"run.{name} is {path}: there is no such file")


def check_client_address(path: str, address: str) -> None:
    """Refuse the scheduler of the client that `run.client`, the function at `path`, gave.

    Raises:
        PipelineError: others could reach it, or listen to it, without a certificate.
    """
    if not is_private(address):
        raise PipelineError(
            f"run.client is {path}, whose scheduler is at {address}, which is not this machine: without TLS anybody "
            "who can reach it could run any program there. Let the function make the cluster with `security=` (see "
            "docs/clusters.md)"
        )


def check_worker_addresses(workers: Iterable[str]) -> None:
    """Refuse workers, also those that joined late, which others could reach, or listen to, without a certificate.

    Raises:
        PipelineError: the message has the worker's address.
    """
    for worker in sorted(workers):
        if not is_private(worker):
            raise PipelineError(f"worker {worker}: it is reached over the network without TLS: see docs/clusters.md")


def is_private(address: str) -> bool:
    """Return whether no other machine can reach what listens at a Dask address, or only with a certificate."""
    parts = urlsplit(address)
    return parts.scheme in PRIVATE_SCHEMES or is_loopback(parts.hostname or "")


def _read_port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine, and cannot be another."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_workers(address: str, ask: Ask, folders: Sequence[Path], environment: Environment) -> None:
    """Refuse workers that cannot see the folders, or differ from the driver in code, libraries or processor type.

    Raises:
        PipelineError: a line for each difference, with the worker, both values and what to do.
    """
    tokens = [_write_token(folder) for folder in folders]
    try:
        answers = ask(probe_worker, tokens, environment.describe)
        problems = [
            f"worker {worker}: {problem}"
            for worker, answer in sorted(answers.items())
            for problem in _check_answer(answer, environment)
        ]
    finally:
        for token, _ in tokens:
            Path(token).unlink(missing_ok=True)
    if problems:
        raise PipelineError("\n".join([f"the cluster at {address} cannot be used", *problems]))


def probe_worker(tokens: Sequence[tuple[str, str]], describe: Describe) -> dict[str, Any]:
    """Return a worker's host and environment, and the token files that it cannot read. Runs on the worker."""
    forget_versions()  # a worker may be older than the state of its checkout and libraries
    unseen = [path for path, content in tokens if not _can_see(Path(path), content)]
    return {"environment": {**describe(), **describe_executor()}, "unseen": unseen, "host": socket.gethostname()}


def _write_token(folder: Path) -> tuple[str, str]:
    """Write a new file into a folder; return its path and its content."""
    folder.mkdir(parents=True, exist_ok=True)
    content = secrets.token_hex(16)
    path = folder.resolve() / f".probe-{secrets.token_hex(8)}"
    path.write_text(content, encoding="ascii")
    return str(path), content


def _can_see(path: Path, content: str) -> bool:
    """Return whether a file becomes visible here, and its folder can be written to."""
    deadline = time.monotonic() + VISIBLE_WITHIN
    while True:
        try:
            return path.read_text(encoding="ascii") == content and os.access(path.parent, os.W_OK)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)


def _check_answer(answer: Any, environment: Environment) -> list[str]:
    """Return what is wrong with a worker that gave this answer to `probe_worker`."""
    if isinstance(answer, Exception) and "ModuleNotFoundError" in repr(answer):  # Dask may pack it into another
        return [
            f"it does not find this project's code ({answer}): start it in the checkout, with `python -m dask worker`"
        ]
    if isinstance(answer, PipelineError):  # such as a spaCy model that is not installed there
        return [str(answer)]
    if isinstance(answer, BaseException):
        return [f"it could not be asked: {type(answer).__name__}: {answer}"]
    problems = [
        f"on {answer['host']} it does not see {Path(path).parent}: mount it there under the same path, writable"
        for path in answer["unseen"]
    ]
    differences = compare_environments(environment.expected, answer["environment"])
    return problems + [f"on {answer['host']} it {difference}" for difference in differences]


def compare_environments(driver: Mapping[str, str], worker: Mapping[str, str]) -> Iterator[str]:
    """Yield each difference of a worker from the driver, as `has numpy 2.0.1, the driver has 2.3.4: …`."""
    for name in sorted(driver.keys() | worker.keys()):
        if driver.get(name) == worker.get(name):
            continue
        if name == CODE:
            yield "has another version of this project's code: bring its checkout to the driver's state"
            continue
        there, here = worker.get(name) or "none", driver.get(name) or "none"
        if name in (PROCESSOR, VECTORS):
            advice = "use machines of one type: the last bits of a feature depend on it"
        else:
            advice = "install the driver's version there"
        yield f"has {name} {there}, the driver has {here}: {advice}"
