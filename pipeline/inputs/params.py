"""Define the keys of the block `ingest:` that say where files come from."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.params import Params, Strings

Links = Literal["refuse", "follow"]

IGNORED = (
    ".git", ".hg", ".svn", ".bzr", ".dvc", ".gitignore", ".gitattributes", ".gitmodules", ".dvcignore",
    "__pycache__", ".ipynb_checkpoints", "@eaDir", "__MACOSX", "._*", ".DS_Store", ".Spotlight-V100", ".fseventsd",
    ".Trash*", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", ".nfs*", "lost+found",
)  # fmt: skip
"""What version control, notebooks, network storage, macOS, Windows and Linux leave in folders."""


class InputParams(Params):
    """Where files come from."""

    root: Annotated[str, Field(min_length=1)] = "inbox"
    """A folder to read besides the crawl's responses."""
    ignore: Strings = IGNORED
    """Names of files and folders that are not data, as shell patterns (`*.tmp`): not read, and counted by pattern."""
    links: Links = "refuse"
    """Links to folders, and links that lead out of the folder: `refuse` drops them, `follow` reads what they lead to,
    but no folder within itself. Links to files of the folder are always read."""
