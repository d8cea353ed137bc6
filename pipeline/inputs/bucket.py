"""List and read the objects below a URL, of any kind that fsspec knows, as the files of a folder are.

Credentials come from where the library of each kind looks for them (the environment, files in the home folder), never
from the params, which DVC writes to `dvc.lock`.
"""

import base64
import hashlib
import itertools
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from pipeline.errors import InputError
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import unescape_name
from shardwright.errors import DamageError
from shardwright.remote.settings import HTTP, Remote, find_scheme, hide_secrets

if TYPE_CHECKING:
    from shardwright.remote.fetch import Fetcher

CHECKSUMS = ("md5Hash", "ETag", "etag", "content_md5")
TIMES = ("mtime", "LastModified", "Last-Modified", "last_modified", "updated", "modified", "created")
"""What file systems of fsspec say of an object's state: checksums (gcsfs, s3fs, http, adlfs), else a time."""

REQUESTS = 16
"""At a time: one takes some 30 ms, whatever the size, so that eight workers read 4,000 small objects a second."""

_PATTERN = re.compile(r"[*?\[]")

Result = TypeVar("Result")
Options = Mapping[str, str | int | float | bool]


class Object(NamedTuple):
    """An object: its name below the URL, its bytes, and its version (see `pipeline.tables.contracts.LISTED`)."""

    name: str
    size: int
    version: str


@dataclass(frozen=True)
class Bucket:
    """The folder of a source that is at a URL.

    Attributes:
        url: without slash at the end.
        setting: the key in `params.yaml` that has it, for messages.
        options: for fsspec's file system.
        pattern: of the names to list, which are then of archives; empty: all objects below the URL.
    """

    url: str
    setting: str
    options: Options = field(default_factory=dict, repr=False)
    pattern: str = ""

    @property
    def name(self) -> str:
        """The URL without secrets, for messages."""
        return hide_secrets(self.url)

    def list_objects(self) -> list[Object]:
        """Return all objects, in any order; without the empty ones by which some tools mark folders.

        All are in memory meanwhile, some kB each.

        Raises:
            InputError: there is none, or the server fails, refuses or is not there; the message names the URL.
        """
        system, root = self._connect()
        is_http = find_scheme(self.url) in HTTP
        if self.pattern:
            found = self._try(lambda: system.glob(f"{root}/{self.pattern}", detail=True))
        else:
            list_all = _walk_pages if is_http else _find_all
            found = self._try(lambda: list_all(system, f"{root}/"))
        infos = {path: info for path, info in found.items() if info["type"] == "file" and not path.endswith("/")}
        if is_http:  # a listing of HTML has no sizes, and links by which it is sorted
            names = [path for path in infos if "?" not in path and "#" not in path]
            with ThreadPoolExecutor(REQUESTS) as threads:
                details = threads.map(lambda path: self._try(lambda: system.info(path)), names)
                infos = dict(zip(names, details, strict=True))
        start = len(f"{root}/")
        objects = [
            Object(self._read_name(path[start:]), info["size"] or 0, find_version(info))
            for path, info in infos.items()
            if len(path) > start
        ]
        if not objects:
            below = f"is called {self.pattern}" if self.pattern else "is below it"
            raise InputError(f"{self.setting} is {self.name}: no object {below}; look at the name")
        return objects

    def read(self, file: str, size: int, version: str) -> bytes | Rejection:
        """Return the bytes of an object, or why there are none: it is gone, refused, or not what was listed.

        Args:
            file: its name, escaped.
            size: as listed.
            version: as listed.

        Raises:
            InputError: the server fails or is not there, in all tries.
        """
        with tempfile.NamedTemporaryFile(prefix="shardwright-") as target:
            fault = self.fetch(file, size, version, Path(target.name))
            return fault or Path(target.name).read_bytes()

    def fetch(self, file: str, size: int, version: str, target: Path) -> Rejection | None:
        """Write an object to a file, which is replaced if it exists; see `read`."""
        from shardwright.remote.fetch import RemoteFile

        name = self._find_name(file)
        fetcher = _open_fetcher(self.url, tuple(sorted(self.options.items())))
        try:
            with target.open("wb+") as output:
                fetcher.fetch(RemoteFile(name, size, None), (target, output.fileno()), time.sleep)
            changed = target.stat().st_size != size or not self._is_version(target, name, version)
        except FileNotFoundError:
            return Rejection(Reason.UNREADABLE, "the object is gone since it was listed")
        except PermissionError:
            return Rejection(Reason.UNREADABLE, "the server refuses the object")
        except DamageError:  # more bytes than were listed
            changed = True
        except OSError as error:
            raise self._explain(error) from None
        return Rejection(Reason.CHANGED_WHILE_READ, "the object changed since it was listed") if changed else None

    def _is_version(self, path: Path, name: str, version: str) -> bool:
        """Return whether a file that was fetched is this version of an object, as far as the server tells versions."""
        if not version:
            return True
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if version in (digest.hexdigest(), base64.b64encode(digest.digest()).decode()):
            return True  # which most versions are, and which saves a request
        system, root = self._connect()
        return find_version(self._request(lambda: system.info(f"{root}/{name}"))) == version

    def _find_name(self, file: str) -> str:
        name = os.fsdecode(unescape_name(file))
        return quote(name) if find_scheme(self.url) in HTTP else name

    def _read_name(self, name: str) -> str:
        return unquote(name) if find_scheme(self.url) in HTTP else name

    def _connect(self) -> tuple[Any, str]:
        from shardwright.remote.fetch import connect

        try:
            system, root = connect(self.url, make_settings(self.options))
        except (ImportError, ValueError) as error:
            raise self._explain(error) from None
        return system, root.rstrip("/")

    def _try(self, action: Callable[[], Result]) -> Result:
        try:
            return self._request(action)
        except OSError as error:
            raise self._explain(error) from None

    def _request(self, action: Callable[[], Result]) -> Result:
        """Return what a request gives, after several tries if need be.

        Raises:
            OSError: see `shardwright.remote.fetch.plan_retry`.
        """
        from shardwright.remote.fetch import plan_retry

        for tries in itertools.count(1):
            try:
                return action()
            except Exception as error:
                delay = plan_retry(make_settings(self.options), self.name, error, tries)
            time.sleep(delay)
        raise AssertionError

    def _explain(self, error: Exception) -> InputError:
        """Return the error for the user, with what to do."""
        what = f"{self.setting} is {self.name}"
        if isinstance(error, FileNotFoundError):
            return InputError(f"{what}: there is no such bucket or folder; look at the name")
        if isinstance(error, PermissionError) or "Credentials" in str(error):
            why = error.strerror if isinstance(error, PermissionError) else "there are no credentials"
            return InputError(
                f"{what}: {why}; put credentials where its library looks for them (for S3 AWS_PROFILE, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or set options: {anon: true} for a public bucket"
            )
        if isinstance(error, ImportError | ValueError):
            return InputError(f"{self.setting}: {error}")
        return InputError(f"{self.setting}: {error}; look at the connection and run `dvc repro` again")


def _find_all(system: Any, root: str) -> dict[str, Any]:
    found: dict[str, Any] = system.find(root, detail=True)
    return found


def _walk_pages(system: Any, root: str) -> dict[str, Any]:
    """Return what `find` does, which passes over pages that it cannot read."""
    found = {}
    pages = [root]
    while pages:
        for info in system.ls(pages.pop(), detail=True):
            if info["type"] == "directory":
                pages.append(info["name"])
            else:
                found[info["name"]] = info
    return found


def find_version(info: Mapping[str, Any]) -> str:
    """Return what a file system says of the state of an object: a checksum, else a time, else nothing."""
    found = next((info[name] for name in (*CHECKSUMS, *TIMES) if info.get(name)), "")
    return str(found.timestamp() if isinstance(found, datetime) else found).strip('"')


def make_settings(options: Options) -> Remote:
    """Return how requests are made. Listings are not kept: an object that changes would go unseen."""
    return Remote(options={**options, "use_listings_cache": False})


@lru_cache
def _open_fetcher(url: str, options: tuple[tuple[str, Any], ...]) -> "Fetcher":
    from shardwright.remote.fetch import Fetcher

    return Fetcher(url, make_settings(dict(options)))


def split_url(url: str) -> tuple[str, str]:
    """Return the URL of the folder of a URL that may be a pattern, as far as it is none, and the rest."""
    scheme, mark, path = url.rstrip("/").partition("://")
    parts = path.split("/")
    plain = next((number for number, part in enumerate(parts) if _PATTERN.search(part)), len(parts) - 1)
    return f"{scheme}{mark}{'/'.join(parts[:plain])}", "/".join(parts[plain:])
