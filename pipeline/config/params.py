"""`params.yaml`: a block a stage, typed, frozen, refused before any work where it is wrong.

Each block's type stands beside the step that uses it. This file has their base class, the loader, and the one block
that says how to run and may not change a byte of what comes out: `run:`.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, core_schema

from pipeline.errors import ParamsError

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole, 0 to 1."""


class Params(BaseModel):
    """Base of every block: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


Strings = Annotated[tuple[str, ...], Field(strict=False)]
"""A YAML list of strings."""


@dataclass(frozen=True)
class OneOf:
    """Annotation of a string that must be one of `names`, those of a table: `Annotated[str, OneOf(FUSIONS)]`."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


Size = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)? ?[KMG]i?B$")]
"""Bytes for people: `512 MB`, `2 GiB`."""


def parse_size(size: str) -> int:
    """The number of bytes that a `Size` says."""
    number, unit = size.rstrip("KMGiB"), size.lstrip("0123456789. ")
    return int(float(number) * (1024 if "i" in unit else 1000) ** (1 + "KMG".index(unit[0])))


class RunParams(Params):
    """How to run. Untracked: nothing here may change a byte of any output."""

    workers: Annotated[int, Field(ge=0, le=1024)]
    """Processes here; 0 works in the stage's own process, without Dask. Not used with a `scheduler`."""
    memory: Size
    """Limit of one process, for example `2 GiB`; an item that takes more is dropped as `memory`."""
    item_seconds: Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)] = 120
    """Time for one item; one that takes more is dropped as `timeout`. Items take milliseconds."""
    allow_machine_drops: bool = False
    """Let a stage end well though it dropped items as `memory` or `timeout`: another machine may keep them."""
    scheduler: str | None = None
    """Address of a Dask scheduler, whose workers are used then: `tcp://127.0.0.1:8786`, `tls://` off this machine."""
    tls_ca: str | None = None
    """Certificate file of the authority, for `tls://`."""
    tls_cert: str | None = None
    """This side's certificate file, for `tls://`."""
    tls_key: str | None = None
    """This side's key file, for `tls://`."""
    dashboard: bool = False
    """Serve Dask's dashboard on this machine while a stage runs; needs the package `bokeh`."""
    cache: Annotated[str, Field(min_length=1)]
    """Folder of the item cache and the work folders; ignored by git and DVC."""
    cache_bytes: Annotated[int, Field(ge=0)] = 100_000_000_000
    """Of the item cache between runs; what was used longest ago goes first. Shards of the last run count, though they
    take no space of their own where the file system has hard links."""
    progress: bool
    """Draw progress bars where the output is a terminal."""


Block = TypeVar("Block", bound=BaseModel)


def read_params(path: Path) -> dict[str, Any]:
    """All blocks of a params file as plain values.

    Raises:
        ParamsError: the file is missing, not YAML, or not a mapping of blocks.
    """
    try:
        blocks = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing: run in the folder that has params.yaml") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(blocks, dict):
        raise ParamsError(f"{path} must be a mapping with a block for each stage")
    return blocks


def check_block(blocks: Mapping[str, Any], name: str, block_type: type[Block]) -> Block:
    """The typed block `name`.

    Raises:
        ParamsError: a line for each wrong key: its full name, its value, what is allowed, and the nearest known key.
    """
    if name not in blocks:
        raise ParamsError(f"params.yaml: the block `{name}` is missing{_suggest(name, list(blocks))}")
    try:
        return block_type.model_validate(blocks[name])
    except ValidationError as error:
        lines = [_describe(name, block_type, detail) for detail in error.errors()]
        raise ParamsError("\n".join(dict.fromkeys(lines))) from None


def _describe(block: str, block_type: type[BaseModel], detail: ErrorDetails) -> str:
    path = [str(part) for part in detail["loc"] if not str(part).startswith("<")]  # tags of a union's members
    name = ".".join([block, *path])
    known = list(_find_keys(block_type, path[:-1]))
    match detail["type"]:
        case "extra_forbidden":
            return f"params.yaml: `{name}` is not a known key{_suggest(path[-1], known)}"
        case "missing":
            present = [key for key in detail["input"] if key not in known] if isinstance(detail["input"], dict) else []
            return f"params.yaml: `{name}` is missing{_suggest(path[-1], present, 'did you mean it by')}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    value = "a mapping" if isinstance(detail["input"], dict) else repr(detail["input"])[:80]
    return f"params.yaml: `{name}` is {value}, it should be {message}"


def _find_keys(block_type: type[BaseModel], path: list[str]) -> Mapping[str, object]:
    """The keys that the model at `path` below `block_type` has."""
    for part in path:
        field = block_type.model_fields.get(part)
        if field is None:
            continue  # the name of a union's member or the key of a mapping
        models = _find_models(field.annotation)
        if len(models) != 1:
            return {}
        block_type = models[0]
    return block_type.model_fields


def _find_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _find_models(argument)]


def _suggest(key: str, known: list[str], words: str = "did you mean") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; {words} `{near[0]}`?" if near else (f"; known are {', '.join(known)}" if known else "")
