"""Find the default folder of a cache, and check that only this user can write to it."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def find_default_folder() -> Path:
    """Return `$XDG_CACHE_HOME/shardwright`, or `~/.cache/shardwright`.

    Raises:
        OSError: the user has no home folder.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # which the XDG specification says to ignore
        try:
            base = Path.home() / ".cache"
        except RuntimeError as error:
            raise OSError(errno.ENOENT, "no home folder for the cache; choose a folder with cache=") from error
    return base / "shardwright"


def claim_folder(folder: Path) -> Path:
    """Create a folder with mode 0700, or check that an existing one is this user's; return its resolved path.

    Raises:
        PermissionError: the folder or a link to it is another user's, or others may write to it.
        NotADirectoryError: it is not a folder.
    """
    user = os.geteuid()
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (user, 0):
            raise PermissionError(
                errno.EPERM, "the cache is a link of another user; choose another folder", str(folder)
            )
        folder = folder.resolve()
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise NotADirectoryError(errno.ENOTDIR, "the cache is not a folder", str(folder)) from error
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if found.st_uid != user:
        raise PermissionError(errno.EPERM, f"the cache belongs to user {found.st_uid}, not {user}", str(folder))
    if found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write to the cache; chmod 700 it", str(folder))
    return folder


def make_cache_folder(folder: Path, private: bool) -> None:
    """Create a folder below a cache.

    Raises:
        OSError: it cannot be created; or it must be private, and others may write to it.
    """
    if private:
        claim_folder(folder.parent)
        claim_folder(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
