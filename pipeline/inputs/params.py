"""Define the keys of the block `ingest:` that say where files come from."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.params import OneOf, Params, Strings
from pipeline.inputs.kinds import ENDINGS, FOLDER, find_kind
from pipeline.tables.contracts import ANNOTATIONS

Links = Literal["refuse", "follow"]

IGNORED = (
    ".git", ".hg", ".svn", ".bzr", ".dvc", ".gitignore", ".gitattributes", ".gitmodules", ".dvcignore",
    "__pycache__", ".ipynb_checkpoints", "@eaDir", "__MACOSX", "._*", ".DS_Store", ".Spotlight-V100", ".fseventsd",
    ".Trash*", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", ".nfs*", "lost+found",
)  # fmt: skip
"""What version control, notebooks, network storage, macOS, Windows and Linux leave in folders."""


class SourceParams(Params):
    """A source of files."""

    kind: Annotated[str, OneOf(ENDINGS)] = FOLDER
    """`folder`: all files below `path`; archives among them are opened. `zip`, `tar` (also compressed by gzip, zstd,
    bzip2 or xz): the files in the archives at `path`. `webdataset`: tars in which the part of a name before its first
    dot is the sample; `.cls` is its label, `.json` has what `columns` names. `parquet` (also Arrow): the files in
    columns of bytes. `warc`: the responses in WARC files, as those of a crawl."""
    path: Annotated[str, Field(min_length=1)]
    """A folder; of another kind a file, or a pattern of files: `shards/train-*.tar`."""
    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = FOLDER
    """The first part of the identity of its items. With the default a folder, and an archive of the same files, give
    the same items, keys and shards. Of files with one name in one source, one is used."""
    columns: dict[Annotated[str, OneOf(("file", *ANNOTATIONS))], str] = Field(default={})
    """Of parquet and webdataset: the table's own names for `file` (the file's name), and for `caption`, `label`,
    `group`, `split`, `licence`, `attribution`, `language`, `sample`, `start` and `end` (seconds), where they differ."""

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.columns and self.kind not in ("parquet", "webdataset"):
            raise self.refuse("columns", f"it must be left out: {self.kind} has no columns")
        return self


class InputParams(Params):
    """Where files come from."""

    root: Annotated[str, Field(min_length=1)] = "inbox"
    """A folder, or an archive by the ending of its name, to read besides the crawl's responses: the short form of one
    entry of `sources`."""
    sources: Annotated[tuple[SourceParams, ...], Field(strict=False)] = ()
    """Folders and archives to read besides the crawl's responses, in place of `root`."""
    ignore: Strings = IGNORED
    """Names of files and folders that are not data, as shell patterns (`*.tmp`): not read, and counted by pattern."""
    links: Links = "refuse"
    """Links to folders, and links that lead out of the folder: `refuse` drops them, `follow` reads what they lead to,
    but no folder within itself. Links to files of the folder are always read."""

    def list_sources(self) -> tuple[SourceParams, ...]:
        """Return `sources`, or `root` as one of them."""
        kind = FOLDER if Path(self.root).is_dir() else find_kind(self.root)
        return self.sources or (SourceParams(kind=kind, path=self.root),)

    def find_table_folder(self) -> Path:
        """Return the folder that the path of a table of annotations is below: that of the first source of files."""
        return Path(next((source.path for source in self.list_sources() if source.kind == FOLDER), self.root))
