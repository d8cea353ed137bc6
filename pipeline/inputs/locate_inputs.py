"""Find the folder, or bucket, that the files of each source are in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.inputs.bucket import Bucket, split_url
from pipeline.inputs.kinds import FOLDER
from pipeline.inputs.params import InputParams, SourceParams
from shardwright.remote.settings import is_url

_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputFolder:
    """The folder of a source, without links; whether its files may be links."""

    path: Path
    follow: bool


def locate_inputs(params: InputParams) -> dict[int, InputFolder | Bucket]:
    """Return the folder or bucket of each source, by its place in the params. Nothing is asked of a bucket.

    Raises:
        InputError: a folder is missing; the message names the setting.
    """
    return {number: _locate(number, source, params) for number, source in enumerate(params.list_sources())}


def name_setting(params: InputParams, number: int) -> str:
    """Return the key in `params.yaml` that has the path of a source."""
    return f"ingest.sources.{number}.path" if params.sources else "ingest.root"


def _locate(number: int, source: SourceParams, params: InputParams) -> InputFolder | Bucket:
    key = name_setting(params, number)
    if is_url(source.path):
        url, pattern = (source.path.rstrip("/"), "") if source.kind == FOLDER else split_url(source.path)
        return Bucket(url, key, source.options, pattern)
    if source.kind == FOLDER:
        if not Path(source.path).is_dir():
            raise InputError(
                f"{key} is {source.path}, which is not a folder: create it, or name the folder of your files"
            )
        return InputFolder(Path(source.path).resolve(), params.links == "follow")
    folder, _ = split_pattern(source.path)
    if not folder.is_dir():
        raise InputError(f"{key} is {source.path}, but there is no folder {folder}: name a file that is there")
    return InputFolder(folder.resolve(), True)  # files that the params name may be links


def split_pattern(path: str) -> tuple[Path, str]:
    """Return the folder of a path that may be a pattern, as far as it is none, and the rest."""
    parts = Path(path).parts
    plain = next((number for number, part in enumerate(parts) if _PATTERN.search(part)), len(parts) - 1)
    return Path(*parts[:plain]), str(Path(*parts[plain:]))


def match_files(source: SourceParams) -> Iterator[str]:
    """Yield the names of the files of an archive's source, below its folder, sorted."""
    folder, pattern = split_pattern(source.path)
    found = folder.glob(pattern) if _PATTERN.search(pattern) else iter([folder / pattern])
    yield from sorted(str(path.relative_to(folder)) for path in found if path.is_symlink() or path.exists())
