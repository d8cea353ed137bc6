"""Fetch files below a URL with retries and checks; error messages show the URL without its secrets."""

import errno
import itertools
import logging
import os
import random
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardwright.errors import DamageError, FormatError
from shardwright.format.manifest import MANIFEST_NAME, Manifest, read_manifest
from shardwright.remote.disk_cache import FULL, ClosedError, Pause, hash_open
from shardwright.remote.settings import HTTP, Remote, find_scheme, hide_secrets, join_url
from shardwright.remote.transfer import StalledError, TooLongError, TransferLimits, transfer

MAX_MANIFEST_BYTES = 64 << 20
"""The manifest of 300,000 shards is smaller; more bytes are refused."""
MAX_BACKOFF_SECONDS = 30.0
TRANSIENT = (408, 425, 429)
"""HTTP statuses of 400 … 499 after which the same request may succeed later."""
FINAL = (
    FileNotFoundError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
    ImportError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
)
FINAL_NAMES = {"TooManyRedirects", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
"""Errors of aiohttp and botocore, by name: neither is imported before it is used."""
EXTRAS = {"http": "remote", "https": "remote", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}

SYSTEMS: dict[int, Any] = {}
"""All file systems that were created, by their id. They share connections, which end by themselves when unused. None is
ever released: its finalizer waits for fsspec's thread, wherever the garbage collector happens to run (seen: while
holding the lock that this thread was waiting for), and a forked process would close its parent's connections."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file below the URL.

    Attributes:
        file: its path, with forward slashes.
        bytes: its size, or for the manifest, which has no `sha256`, the most it may have.
        sha256: 64 hex digits, or None.
        fresh: whether to bypass HTTP caches.
    """

    file: str
    bytes: int
    sha256: str | None
    fresh: bool = False


class WrongBytesError(Exception):
    """A complete response that is not the file that was published; with `short` its end may be missing."""

    def __init__(self, what: str, short: bool = False) -> None:
        super().__init__(what)
        self.short = short


class Fetcher:
    """Fetches files below a URL; safe for threads and forked processes.

    Attributes:
        name: the URL without secrets, for messages.

    Raises:
        ImportError: fsspec, or the package for this kind of URL, is not installed.
        ValueError: fsspec does not know this kind of URL.
    """

    def __init__(self, url: str, settings: Remote) -> None:
        self.name = hide_secrets(url)
        self._url = url
        self._settings = settings
        self._systems: dict[int, tuple[Any, str]] = {}  # by process
        self._connect()

    def fetch(self, requested: RemoteFile, target: tuple[Path, int], pause: Pause) -> None:
        """Fetch a file to a path that is open for reading and writing.

        Args:
            requested: the file.
            target: the path and its descriptor.
            pause: see `Pause`.

        Raises:
            FileNotFoundError: the server does not have it.
            PermissionError: the server refuses it.
            DamageError: the server sent another file, twice; the message has both sizes or sha256.
            ConnectionError: all tries have failed.
            TimeoutError: the deadline has passed.
            OSError: any other error, such as a full disk.
        """
        deadline, fresh = time.monotonic() + self._settings.deadline, requested.fresh
        for tries in itertools.count(1):
            limits = TransferLimits(requested.bytes, self._settings.stall, deadline, pause)
            try:
                return self._try(requested, target, limits, fresh)
            except ClosedError:
                raise
            except Exception as error:
                if not isinstance(error, FINAL) and time.monotonic() > deadline:
                    raise self._build_timeout(requested, error) from None
                delay = self._plan_retry(requested, error, tries, fresh)
                if time.monotonic() + delay > deadline:
                    raise self._build_timeout(requested, error) from None
                fresh |= isinstance(error, WrongBytesError)
            pause(delay)

    def read_manifest(self, pause: Pause) -> Manifest:
        """Fetch and read the current manifest, bypassing all caches.

        Raises:
            FileNotFoundError, FormatError, DamageError: see `shardwright.format.manifest.read_manifest`.
            OSError: see `fetch`.
        """
        with tempfile.TemporaryDirectory(prefix="shardwright-") as folder:
            path = Path(folder) / MANIFEST_NAME
            with path.open("xb+") as file:
                requested = RemoteFile(MANIFEST_NAME, MAX_MANIFEST_BYTES, None, fresh=True)
                self.fetch(requested, (path, file.fileno()), pause)
            try:
                return read_manifest(folder)
            except (FormatError, DamageError) as error:
                error.args = (str(error).replace(folder, self.name),)
                raise

    def _try(self, requested: RemoteFile, target: tuple[Path, int], limits: TransferLimits, fresh: bool) -> None:
        system, base = self._connect()
        options: dict[str, Any] = {}
        scheme = find_scheme(self._url)
        if scheme in HTTP and fresh:
            options["headers"] = {**make_headers(self._settings.options), **FRESH}
        if scheme in ("s3", "s3a"):
            options["max_concurrency"] = 1  # the default holds ten pieces of 50 MiB in memory
        try:
            found = transfer(system, join_url(base, requested.file), target, limits, **options)
        except TooLongError as error:
            raise WrongBytesError(str(error)) from None
        if requested.sha256 is None:
            return
        if found.bytes != requested.bytes:
            what = f"{found.bytes} bytes, the manifest says {requested.bytes}"
            raise WrongBytesError(what, short=found.bytes < requested.bytes)
        if found.sha256 != requested.sha256:
            # Hash the file on disk: the file system may have written its parts in another order.
            sha256 = hash_open(target[1], limits.pause)
            if sha256 != requested.sha256:
                raise WrongBytesError(f"its sha256 is {sha256}, the manifest says {requested.sha256}")

    def _plan_retry(self, requested: RemoteFile, error: Exception, tries: int, fresh: bool) -> float:
        """Return the seconds until the next try, or raise the final error."""
        where = self._name(requested)
        if isinstance(error, WrongBytesError):
            if tries >= self._settings.tries if error.short else fresh:
                raise DamageError(f"{where}: {error}", shard=requested.file.rpartition("/")[2]) from None
            return back_off(self._settings, tries, 0.0) if error.short else 0.0
        return plan_retry(self._settings, where, error, tries)

    def _build_timeout(self, requested: RemoteFile, error: Exception) -> TimeoutError:
        limit = f"not fetched within Remote.deadline, {self._settings.deadline:g} s"
        return TimeoutError(f"{self._name(requested)}: {limit}; the last try: {describe(error)}")

    def _name(self, requested: RemoteFile) -> str:
        return f"{self.name}/{requested.file}"

    def _connect(self) -> tuple[Any, str]:
        """Return this process's file system and the dataset's path in it."""
        found = self._systems.get(os.getpid())
        if found is None:
            found = self._systems[os.getpid()] = connect(self._url, self._settings)
        return found


def plan_retry(settings: Remote, where: str, error: Exception, tries: int) -> float:
    """Return the seconds to wait after the failed try number `tries` at a request, or raise the final error.

    Raises:
        FileNotFoundError: the server does not have what is at `where`.
        PermissionError: the server refuses it.
        ConnectionError: all tries have failed.
        OSError: any other error, such as a full disk; the message has `where`, and no secrets.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    status = find_status(error)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        raise FileNotFoundError(errno.ENOENT, "missing", where) from None
    if isinstance(error, PermissionError) or status in (401, 403):
        raise PermissionError(errno.EACCES, f"the server refuses it, {describe(error)}", where) from None
    refused = status is not None and 400 <= status < 500 and status not in TRANSIENT
    if refused or isinstance(error, FINAL) or type(error).__name__ in FINAL_NAMES:
        raise OSError(f"{where}: cannot be fetched: {describe(error)}") from None
    if tries >= settings.tries:
        raise ConnectionError(f"{where}: {describe(error)} at try {tries} of {tries}") from None
    logger.info("%s: %s, try %d", where, describe(error), tries)
    return back_off(settings, tries, find_retry_after(error))


def back_off(settings: Remote, tries: int, asked: float) -> float:
    """Return the seconds to wait after so many tries, at least those that the server asked for.

    They are random, so that clients of a server that was down do not all return at once.
    """
    delay = settings.backoff * 2.0 ** min(tries - 1, 30) * random.uniform(0.5, 1.5)
    return min(max(delay, asked), MAX_BACKOFF_SECONDS)


def connect(url: str, settings: Remote) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        ImportError, ValueError: see `Fetcher`.
    """
    scheme = find_scheme(url)
    extra = EXTRAS.get(scheme, "remote")
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url, **fill_options(scheme, settings.options))
    except ImportError as error:
        name = error.name or getattr(error.__cause__, "name", None) or f"fsspec's package for {scheme}"
        needed = name.partition(".")[0]
        what = f'{hide_secrets(url)}: needs {needed}: pip install "shardwright[{extra}]"'
        raise ImportError(what, name=needed) from error
    except ValueError as error:
        raise ValueError(f"{hide_secrets(url)}: fsspec cannot open this kind of URL: {scheme!r}") from error
    SYSTEMS[id(system)] = system
    return system, path if scheme not in HTTP else url


def fill_options(scheme: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the user's options, completed by our defaults."""
    if scheme not in HTTP:
        return options
    import aiohttp

    # By default aiohttp ends each request after 300 s, even one that makes progress, and ignores proxy variables.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    defaults = {"timeout": timeout, "trust_env": True}
    client = {**defaults, **options.get("client_kwargs", {})}
    return {**options, "client_kwargs": client, "headers": make_headers(options)}


def make_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the user's HTTP headers, with a request for uncompressed bodies.

    A body that is compressed in transit has no length by which a cut could be noticed.
    """
    return {"Accept-Encoding": "identity", **options.get("headers", {})}


def find_status(error: BaseException) -> int | None:
    """Return the HTTP status of an error, or None."""
    value: Any = getattr(error, "status", None) if hasattr(error, "status") else getattr(error, "code", None)
    known = isinstance(value, int | str) and str(value).isdecimal() and int(value) >= 100
    return int(value) if known else None


def find_retry_after(error: BaseException) -> float:
    """Return the seconds of the Retry-After header of an error, or 0."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "") if isinstance(headers, Mapping) else ""
    return float(value) if value.isdecimal() else 0.0


def describe(error: BaseException) -> str:
    """Describe an error without the URL, which the messages of other packages show with its secrets."""
    status = find_status(error)
    if status is not None:
        return f"HTTP status {status}"
    if isinstance(error, StalledError | WrongBytesError):
        return str(error)
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__
