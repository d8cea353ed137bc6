"""Define the keys of the block `ingest:` that say where files come from."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.params import OneOf, Params, Strings
from pipeline.config.plugins import is_plugin
from pipeline.inputs.kinds import ENDINGS, FOLDER, find_kind
from pipeline.tables.contracts import ANNOTATIONS
from shardwright.remote.settings import HTTP, find_scheme, hide_secrets, is_url

Links = Literal["refuse", "follow"]

IGNORED = (
    ".git", ".hg", ".svn", ".bzr", ".dvc", ".gitignore", ".gitattributes", ".gitmodules", ".dvcignore",
    "__pycache__", ".ipynb_checkpoints", "@eaDir", "__MACOSX", "._*", ".DS_Store", ".Spotlight-V100", ".fseventsd",
    ".Trash*", "$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "desktop.ini", ".nfs*", "lost+found",
)  # fmt: skip
"""What version control, notebooks, network storage, macOS, Windows and Linux leave in folders."""


_SECRET = re.compile(r"(?i)key|secret|token|passw|credential|connection|sas")
_NO_SECRETS = "params are written to dvc.lock; put credentials where the library for such URLs looks for them"


class SourceParams(Params):
    """A source of files."""

    kind: Annotated[str, OneOf(ENDINGS, plugins=True)] = FOLDER
    """`folder`: all files below `path`; archives among them are opened. `zip`, `tar` (also compressed by gzip, zstd,
    bzip2 or xz): the files in the archives at `path`. `webdataset`: tars in which the part of a name before its first
    dot is the sample; `.cls` is its label, `.json` has what `columns` names. `parquet` (also Arrow): the files in
    columns of bytes. `rows`: the texts in the rows of csv, tsv, jsonl or json tables. `warc`: the responses in WARC
    files, as those of a crawl. `plugins/<file>.py:<Name>`: what a `Source` of your own finds in the files at `path`."""
    path: Annotated[str, Field(min_length=1)]
    """A folder; of another kind a file, or a pattern of files: `shards/train-*.tar`. Either may be a URL of any kind
    that fsspec knows: `s3://bucket/photos`, `gs://bucket/shards/*.tar`, `https://host/files/` (a page that lists them).
    Credentials are found where the library for such URLs looks for them, never here."""
    name: Annotated[str, Field(pattern=r"^[\w.-]+$")] = FOLDER
    """The first part of the identity of its items. With the default a folder, and an archive of the same files, give
    the same items, keys and shards. Of files with one name in one source, one is used."""
    columns: dict[Annotated[str, OneOf(("file", *ANNOTATIONS))], str] = Field(default={})
    """Of parquet, rows, webdataset and your own: the table's own names for `file` (the file's name), and for `caption`,
    `label`, `group`, `split`, `licence`, `attribution`, `language`, `sample`, `start` and `end` (seconds), where they
    differ."""

    options: dict[str, str | int | float | bool] = Field(default={})
    """Of a URL: what fsspec's file system is given, such as `anon: true` for a public bucket of S3, or its
    `endpoint_url`."""

    @model_validator(mode="after")
    def _check_url(self) -> Self:
        if not is_url(self.path):
            if self.options:
                raise self.refuse("options", "it must be left out: only a URL has options")
            return self
        query = "?" in self.path and find_scheme(self.path) in HTTP
        if query or "@" in self.path.partition("://")[2].partition("/")[0]:
            hidden = self.model_copy(update={"path": hide_secrets(self.path)})
            raise hidden.refuse("path", f"it must be without user, password and query: {_NO_SECRETS}")
        for name, value in self.options.items():
            if (_SECRET.search(name) and value != "anon") or "@" in str(value):
                hidden = self.model_copy(update={"options": {**self.options, name: "***"}})
                raise hidden.refuse("options", f"it must be without {name}: {_NO_SECRETS}")
        return self

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if self.columns and self.kind not in ("parquet", "rows", "webdataset") and not is_plugin(self.kind):
            raise self.refuse("columns", f"it must be left out: {self.kind} has no columns")
        return self


class InputParams(Params):
    """Where files come from."""

    root: Annotated[str, Field(min_length=1)] = "inbox"
    """A folder, or an archive by the ending of its name, or the URL of one, to read besides the crawl's responses: the
    short form of one entry of `sources`."""
    sources: Annotated[tuple[SourceParams, ...], Field(strict=False)] = ()
    """Folders and archives to read besides the crawl's responses, in place of `root`."""
    ignore: Strings = IGNORED
    """Names of files and folders that are not data, as shell patterns (`*.tmp`): not read, and counted by pattern."""
    links: Links = "refuse"
    """Links to folders, and links that lead out of the folder: `refuse` drops them, `follow` reads what they lead to,
    but no folder within itself. Links to files of the folder are always read, and those of a snapshot in the cache of
    Hugging Face to its blobs."""

    def list_sources(self) -> tuple[SourceParams, ...]:
        """Return `sources`, or `root` as one of them."""
        kind = FOLDER if Path(self.root).is_dir() else find_kind(self.root)
        return self.sources or (SourceParams(kind=kind, path=self.root),)

    def find_table_source(self) -> int:
        """Return the place of the source that the path of a table of annotations is below: the first of files."""
        kinds = [source.kind for source in self.list_sources()]
        return kinds.index(FOLDER) if FOLDER in kinds else 0

    def name_table_folder(self) -> str:
        """Return the folder, or the URL, that the path of a table of annotations is below."""
        return self.list_sources()[self.find_table_source()].path
