"""The folder of a cache: where it is unless somebody says, and that nobody else can write to it."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def find_default_folder() -> Path:
    """`$XDG_CACHE_HOME/shardwright`, or `~/.cache/shardwright`.

    Raises:
        OSError: there is no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # as the XDG specification has it
        try:
            base = Path.home() / ".cache"
        except RuntimeError as error:
            raise OSError(errno.ENOENT, "there is no home for a cache; name its folder with cache=") from error
    return base / "shardwright"


def claim_folder(folder: Path) -> Path:
    """Make a folder of this user alone, or check that it is one; where it really is.

    Raises:
        PermissionError: it, or the link in its place, is another user's, or others may write to it.
        NotADirectoryError: it is no folder.
    """
    user = os.geteuid()
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        if found.st_uid not in (user, 0):
            raise PermissionError(errno.EPERM, "the cache is a link that another user made", str(folder))
        folder = folder.resolve()
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise NotADirectoryError(errno.ENOTDIR, "the cache is no folder", str(folder)) from error
    try:
        found = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if found.st_uid != user:
        raise PermissionError(errno.EPERM, f"the cache belongs to user {found.st_uid}, not {user}", str(folder))
    if found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write to the cache; chmod 700 it", str(folder))
    return folder
