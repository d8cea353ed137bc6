"""Fetches files below a URL: tried again where that may help, checked, and with errors that name the URL alone."""

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
"""What 300,000 shards take: a server that sends more is not listened to."""
MAX_BACKOFF_SECONDS = 30.0
PASSING = (408, 425, 429)
"""Statuses of the range 400 … 499 that are about the moment and not about the request."""
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
"""Of aiohttp and botocore, by name: neither is imported before it is needed."""
EXTRAS = {"http": "remote", "https": "remote", "s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
FRESH = {"Cache-Control": "no-cache", "Pragma": "no-cache"}

SYSTEMS: dict[int, Any] = {}
"""All filesystems that were made, by their id. They share connections, which end by themselves when nobody uses them.
None is ever let go: closing its connections waits for fsspec's thread, wherever the garbage collector happens to run
(found: with the lock held that this thread was waiting for), and a forked process would close those of its parent."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A file below the URL, with what the manifest says of it; of the manifest itself only a bound is known.

    Attributes:
        file: with forward slashes.
        bytes: its size, or the most it may have where there is no `sha256`.
        sha256: 64 hex digits, or None.
        fresh: whether caches on the way are to be passed by.
    """

    file: str
    bytes: int
    sha256: str | None
    fresh: bool = False


class WrongBytesError(Exception):
    """A whole answer that is not the file that was published; `short` where the end may be what is missing."""

    def __init__(self, what: str, short: bool = False) -> None:
        super().__init__(what)
        self.short = short


class Fetcher:
    """Fetches files below a URL. Threads may use it at once, and processes that were forked.

    Attributes:
        name: the URL as messages show it.

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

    def fetch(self, wanted: RemoteFile, target: tuple[Path, int], pause: Pause) -> None:
        """Write a file to a path that is open for reading and writing under a descriptor.

        Raises:
            FileNotFoundError: there is no such file.
            PermissionError: the server does not hand it out.
            DamageError: what it sends is not what was published, twice; the message has both sizes or sha256.
            ConnectionError: the tries are used up.
            TimeoutError: the time is.
            OSError: something else, such as a disk that is full.
        """
        deadline, fresh = time.monotonic() + self._settings.deadline, wanted.fresh
        for tries in itertools.count(1):
            bounds = TransferLimits(wanted.bytes, self._settings.stall, deadline, pause)
            try:
                return self._try(wanted, target, bounds, fresh)
            except ClosedError:
                raise
            except Exception as error:
                if not isinstance(error, FINAL) and time.monotonic() > deadline:
                    raise self._blame_time(wanted, error) from None
                delay = self._judge(wanted, error, tries, fresh)
                if time.monotonic() + delay > deadline:
                    raise self._blame_time(wanted, error) from None
                fresh |= isinstance(error, WrongBytesError)
            pause(delay)

    def read_manifest(self, pause: Pause) -> Manifest:
        """The manifest as it is at this moment, past all caches.

        Raises:
            FileNotFoundError, FormatError, DamageError: see `shardwright.format.manifest.read_manifest`.
            OSError: see `fetch`.
        """
        with tempfile.TemporaryDirectory(prefix="shardwright-") as folder:
            path = Path(folder) / MANIFEST_NAME
            with path.open("xb+") as file:
                wanted = RemoteFile(MANIFEST_NAME, MAX_MANIFEST_BYTES, None, fresh=True)
                self.fetch(wanted, (path, file.fileno()), pause)
            try:
                return read_manifest(folder)
            except (FormatError, DamageError) as error:
                error.args = (str(error).replace(folder, self.name),)
                raise

    def _try(self, wanted: RemoteFile, target: tuple[Path, int], bounds: TransferLimits, fresh: bool) -> None:
        system, base = self._connect()
        options: dict[str, Any] = {}
        scheme = find_scheme(self._url)
        if scheme in HTTP and fresh:
            options["headers"] = {**make_headers(self._settings.options), **FRESH}
        if scheme in ("s3", "s3a"):
            options["max_concurrency"] = 1  # ten pieces of 50 MiB would be kept in memory
        try:
            found = transfer(system, join_url(base, wanted.file), target, bounds, **options)
        except TooLongError as error:
            raise WrongBytesError(str(error)) from None
        if wanted.sha256 is None:
            return
        if found.bytes != wanted.bytes:
            what = f"{found.bytes} bytes, the manifest says {wanted.bytes}"
            raise WrongBytesError(what, short=found.bytes < wanted.bytes)
        if found.sha256 != wanted.sha256:
            # Once more from the disk: a filesystem may have written in another order than that of the bytes.
            sha256 = hash_open(target[1], bounds.pause)
            if sha256 != wanted.sha256:
                raise WrongBytesError(f"its sha256 is {sha256}, the manifest says {wanted.sha256}")

    def _judge(self, wanted: RemoteFile, error: Exception, tries: int, fresh: bool) -> float:
        """Seconds until the next try, where there is to be one."""
        where = self._name(wanted)
        if isinstance(error, WrongBytesError):
            if tries >= self._settings.tries if error.short else fresh:
                raise DamageError(f"{where}: {error}", shard=wanted.file.rpartition("/")[2]) from None
            return self._back_off(tries, 0.0) if error.short else 0.0
        if isinstance(error, OSError) and error.errno in FULL:
            raise error
        status = find_status(error)
        if isinstance(error, FileNotFoundError) or status in (404, 410):
            raise FileNotFoundError(errno.ENOENT, "missing", where) from None
        if isinstance(error, PermissionError) or status in (401, 403):
            raise PermissionError(errno.EACCES, f"the server refuses it, {describe(error)}", where) from None
        refused = status is not None and 400 <= status < 500 and status not in PASSING
        if refused or isinstance(error, FINAL) or type(error).__name__ in FINAL_NAMES:
            raise OSError(f"{where}: cannot be fetched: {describe(error)}") from None
        if tries >= self._settings.tries:
            raise ConnectionError(f"{where}: {describe(error)} at try {tries} of {tries}") from None
        logger.info("%s: %s, try %d", where, describe(error), tries)
        return self._back_off(tries, find_retry_after(error))

    def _back_off(self, tries: int, asked: float) -> float:
        # At random, or all who met a server that was down would come back to it at once.
        delay = self._settings.backoff * 2.0 ** min(tries - 1, 30) * random.uniform(0.5, 1.5)
        return min(max(delay, asked), MAX_BACKOFF_SECONDS)

    def _blame_time(self, wanted: RemoteFile, error: Exception) -> TimeoutError:
        limit = f"not there within the {self._settings.deadline:g} s of the deadline"
        return TimeoutError(f"{self._name(wanted)}: {limit}; the last try: {describe(error)}")

    def _name(self, wanted: RemoteFile) -> str:
        return f"{self.name}/{wanted.file}"

    def _connect(self) -> tuple[Any, str]:
        """The filesystem of this process, and the dataset's place in it."""
        found = self._systems.get(os.getpid())
        if found is None:
            found = self._systems[os.getpid()] = connect(self._url, self._settings)
        return found


def connect(url: str, settings: Remote) -> tuple[Any, str]:
    """A filesystem of fsspec, and the place in it.

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
    """The user's options, with what they leave open."""
    if scheme not in HTTP:
        return options
    import aiohttp

    # By default aiohttp ends each request after 300 s, however well it goes, and does not look for a proxy.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    ours = {"timeout": timeout, "trust_env": True}
    client = {**ours, **options.get("client_kwargs", {})}
    return {**options, "client_kwargs": client, "headers": make_headers(options)}


def make_headers(options: Mapping[str, Any]) -> dict[str, str]:
    """What is said to a web server: the user's own, and to send files as they are.

    A body that is compressed on the way has no length that tells where it was cut.
    """
    return {"Accept-Encoding": "identity", **options.get("headers", {})}


def find_status(error: BaseException) -> int | None:
    """The status of an HTTP answer that an error tells of."""
    value: Any = getattr(error, "status", None) if hasattr(error, "status") else getattr(error, "code", None)
    known = isinstance(value, int | str) and str(value).isdecimal() and int(value) >= 100
    return int(value) if known else None


def find_retry_after(error: BaseException) -> float:
    """The seconds that the server asks for, or 0."""
    headers = getattr(error, "headers", None)
    value = headers.get("Retry-After", "") if isinstance(headers, Mapping) else ""
    return float(value) if value.isdecimal() else 0.0


def describe(error: BaseException) -> str:
    """What happened, without the URL: the texts of other packages have it with everything in it."""
    status = find_status(error)
    if status is not None:
        return f"HTTP status {status}"
    if isinstance(error, StalledError | WrongBytesError):
        return str(error)
    if isinstance(error, OSError) and error.errno and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__
