"""What must hold of a cluster that somebody else started, before it is given any work.

A Dask worker runs whatever it is sent, so an address that others can reach must be encrypted and ask for certificates.
Tasks name files, and their code is what is on the worker's own disk: both must be those of this machine.
"""

import ipaddress
import os
import platform
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.cache.module_sources import hash_source
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError

SEEN_WITHIN = 5.0
"""Seconds for a new file to be seen on other machines: a network file system keeps what it knows of a folder."""

LIBRARIES = (
    "dask",
    "distributed",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "pyarrow",
    "pydantic",
    "soundfile",
    "soxr",
    "spacy",
)
"""Distributions that hand tasks around, or can change a byte of what comes out."""

Ask = Callable[..., Mapping[str, Any]]
"""Runs a function with its arguments on every worker; gives by address what it returned, or what it raised."""


def check_address(run: RunParams) -> None:
    """Refuse an address that others could reach, or listen to, without a certificate.

    Raises:
        PipelineError: the message has the address and says what to write instead.
    """
    address = run.scheduler or ""
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _read_port(address):
        raise PipelineError(f"run.scheduler is {address!r}: write tcp://127.0.0.1:8786, or tls://HOST:PORT")
    if parts.scheme == "tcp" and not is_loopback(parts.hostname):
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
            raise PipelineError(f"run.{name}: there is no file {path}")


def _read_port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine, and cannot be another."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_workers(address: str, ask: Ask, folders: Sequence[Path]) -> None:
    """Refuse workers that cannot see the folders, or would run other code than this machine.

    Raises:
        PipelineError: a line for each worker that will not do.
    """
    wanted = describe_machine()
    tokens = [_leave_token(folder) for folder in folders]
    try:
        answers = ask(probe_worker, tokens)
        problems = [
            f"worker {worker}: {problem}"
            for worker, answer in sorted(answers.items())
            for problem in _compare(worker, address, answer, wanted)
        ]
    finally:
        for token, _ in tokens:
            Path(token).unlink(missing_ok=True)
    if not answers:
        raise PipelineError(f"the scheduler at {address} has no workers: start some, as docs/clusters.md says")
    if problems:
        raise PipelineError("\n".join([f"the cluster at {address} cannot be used", *problems]))


def describe_machine() -> dict[str, str]:
    """What must be the same wherever tasks run: versions, and the code that hands tasks to their processes."""
    found = {"code": hash_source("pipeline.runtime.executor"), "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):  # OpenCV comes under several names
            found[name] = metadata.version(name)
    return found


def probe_worker(tokens: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What a worker says of itself: `describe_machine`, and which of the token files it cannot read. Runs there."""
    unseen = [path for path, content in tokens if not _see(Path(path), content)]
    return {"machine": describe_machine(), "unseen": unseen, "host": socket.gethostname()}


def _leave_token(folder: Path) -> tuple[str, str]:
    """A new file in a folder, and what is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = secrets.token_hex(16)
    path = folder.resolve() / f".probe-{secrets.token_hex(8)}"
    path.write_text(content, encoding="ascii")
    return str(path), content


def _see(path: Path, content: str) -> bool:
    """Whether a file comes into sight, and can be answered beside it."""
    deadline = time.monotonic() + SEEN_WITHIN
    while True:
        try:
            return path.read_text(encoding="ascii") == content and os.access(path.parent, os.W_OK)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)


def _compare(worker: str, address: str, answer: Any, wanted: Mapping[str, str]) -> list[str]:
    """What is wrong with a worker that gave this answer."""
    if isinstance(answer, Exception) and "ModuleNotFoundError" in repr(answer):  # Dask may pack it into another
        return [
            f"it does not find this project's code ({answer}): start it in the checkout, with `python -m dask worker`"
        ]
    if isinstance(answer, BaseException):
        return [f"it could not be asked: {type(answer).__name__}: {answer}"]
    problems = [f"on {answer['host']} it does not see {Path(path).parent}" for path in answer["unseen"]]
    for name, here in wanted.items():
        there = answer["machine"].get(name)
        if there != here:
            what = "another version of this project's code" if name == "code" else f"{name} {there}, here it is {here}"
            problems.append(f"on {answer['host']} it has {what}")
    if address.startswith("tcp:") and not is_loopback(urlsplit(worker).hostname or ""):
        problems.append("it is reached over the network without TLS: see docs/clusters.md")
    return problems
