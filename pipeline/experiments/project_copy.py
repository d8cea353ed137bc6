"""Run stages on other params in a folder beside the project's, which stays as it is: its params, outputs and git state.

The folder has links to the project's code and inputs, a params file, and outputs of its own. It shares the item cache
and DVC's cache with the project: features, shards and whole stages that either has made are not made again.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.check_params import check_all_blocks, check_block, read_params
from pipeline.config.choose_params import PARAMS, set_value
from pipeline.config.params import RunParams
from pipeline.errors import ParamsError
from pipeline.ingest.params import IngestParams
from pipeline.runtime.build import build, open_repository
from shardwright.format.atomic_write import write_file
from shardwright.remote.settings import is_url

OWN = (".cache", ".dvc", ".git", ".venv", "data", "dvc.lock", "dvc.yaml", "params.yaml")
"""What the folder does not share with the project by a link."""

CONFIG = """\
[core]
    no_scm = true
[cache]
    dir = {cache}
"""
"""Of DVC, beside the project's: git never hears of the folder."""


@dataclass(frozen=True)
class ProjectCopy:
    """A folder in which the project's stages run.

    Attributes:
        folder: absolute.
    """

    folder: Path

    @property
    def data(self) -> Path:
        """The outputs."""
        return self.folder / "data"

    def build(self, stages: Sequence[str] = ()) -> list[str]:
        """Bring stages up to date, see `pipeline.runtime.build.build`. Raises what that raises."""
        with contextlib.chdir(self.folder):
            return build(stages)


def find_experiments(project: Path, name: str) -> Path:
    """Return the folder for the experiments of a kind, in the cache folder of the project.

    Raises:
        ParamsError: `params.yaml` is missing, or its block `run` is wrong.
    """
    run = check_block(read_params(project / PARAMS), "run", RunParams)
    return (project / run.cache).absolute() / "experiments" / name


def open_copy(project: Path, folder: Path, changes: Mapping[str, Any]) -> ProjectCopy:
    """Make the folder, or bring its links and params up to date; its outputs stay.

    Args:
        project: the folder of the project.
        folder: of the copy.
        changes: values by the full names of params, `align.fold`, in place of those in the project's `params.yaml`.

    Raises:
        ParamsError: the params are wrong, with the changes; the message names the key.
    """
    params = render_params(project, changes)
    folder.mkdir(parents=True, exist_ok=True)
    _link_entries(project, folder)
    shutil.copyfile(project / "dvc.yaml", folder / "dvc.yaml")
    (folder / ".dvc").mkdir(exist_ok=True)
    if (project / ".dvc/config").is_file():
        shutil.copyfile(project / ".dvc/config", folder / ".dvc/config")
    with open_repository(project) as repository:
        config = CONFIG.format(cache=repository.cache.local_cache_dir)
    (folder / ".dvc/config.local").write_text(config, encoding="utf-8")
    write_file(folder / PARAMS, [params.encode()])
    return ProjectCopy(folder.absolute())


def _link_entries(project: Path, folder: Path) -> None:
    """Link all that the project's folder has but `OWN`; links to what is gone are removed."""
    for link in folder.iterdir():
        if link.is_symlink() and not link.exists():
            link.unlink()
    for entry in sorted(project.iterdir()):
        if entry.name not in OWN and not (folder / entry.name).is_symlink():
            (folder / entry.name).symlink_to(entry.absolute())


def render_params(project: Path, changes: Mapping[str, Any]) -> str:
    """Return the text of the project's params file with the changes, for another folder: paths that lead out of the
    project, and that of the cache, are absolute.

    Raises:
        ParamsError: the params are wrong.
    """
    text = (project / PARAMS).read_text(encoding="utf-8")
    for name, value in changes.items():
        text = set_value(text, name.split("."), value)
    blocks = _parse(text)
    check_all_blocks(blocks)
    run = check_block(blocks, "run", RunParams)
    text = set_value(text, ("run", "cache"), str((project / run.cache).absolute()))
    ingest = check_block(blocks, "ingest", IngestParams)
    if ingest.sources:
        sources = [{**source, "path": _reach(project, source["path"])} for source in blocks["ingest"]["sources"]]
        if sources != blocks["ingest"]["sources"]:
            text = set_value(text, ("ingest", "sources"), sources)
    elif _reach(project, ingest.root) != ingest.root:
        text = set_value(text, ("ingest", "root"), _reach(project, ingest.root))
    return text


def _parse(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    blocks = YAML(typ="safe").load(text)
    if not isinstance(blocks, dict):
        raise ParamsError(f"{PARAMS} is not a mapping of blocks")
    return blocks


def _reach(project: Path, path: str) -> str:
    """Return a path as it is, or absolute if it leads out of the project."""
    outside = not is_url(path) and Path(os.path.normpath(path)).parts[:1] == (os.pardir,)
    return str((project / path).resolve()) if outside else path
