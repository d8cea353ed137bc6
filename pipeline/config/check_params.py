"""Read a params file and check all of it before any work: a typo in `train` must not wait for the end of a long crawl.

Block types are looked up by name and not imported, so that a stage's code does not depend on every other stage's: this
check can only refuse, it never changes a byte.
"""

import difflib
import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.params import WRONG_KEY, Block, Params
from pipeline.errors import ParamsError

BLOCKS = {
    "crawl": "pipeline.crawl.params:CrawlParams",
    "ingest": "pipeline.ingest.params:IngestParams",
    "clean": "pipeline.clean.params:CleanParams",
    "align": "pipeline.align.params:AlignParams",
    "extract": "pipeline.extract.params:ExtractParams",
    "train": "pipeline.train.params:TrainParams",
    "evaluate": "pipeline.evaluate.params:EvaluateParams",
    "run": "pipeline.config.params:RunParams",
}
"""Every block of `params.yaml` with its type, in the file's order."""

FILE = "params.yaml"

MAX_SHOWN = 80
"""Characters of a wrong value in a message."""

PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
"""Strings that YAML takes as they are, unless they are another value."""

OTHER_VALUES = ("null", "true", "false", ".inf", ".nan")


def read_params(path: Path) -> dict[str, Any]:
    """Return what a params file holds, as plain values, read by YAML 1.2 and with the loader that DVC has.

    `1e-5` is a number, `064` is 64, and `on` is a string; PyYAML, which reads YAML 1.1, takes each for something else.

    Raises:
        ParamsError: the file is missing, not UTF-8, not YAML, or not a mapping of blocks; the message has the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path} is missing: run in the folder that has params.yaml") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    return parse_params(text, str(path))


def parse_params(text: str, file: str) -> dict[str, Any]:
    """Return what the text of a params file holds, see `read_params`; messages name `file`.

    Raises:
        ParamsError: it is not YAML, or not a mapping of blocks.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        blocks = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ParamsError(f"{file} {_describe_yaml_error(error)}") from None
    if not isinstance(blocks, dict):
        raise ParamsError(f"{file} must be a mapping of blocks: {', '.join(BLOCKS)}; to use the defaults, write `run:`")
    return blocks


def load_block_type(name: str) -> type[Params]:
    """Return the type of the block `name`."""
    module, _, attribute = BLOCKS[name].partition(":")
    block_type: type[Params] = getattr(importlib.import_module(module), attribute)
    return block_type


def check_all_blocks(blocks: Mapping[str, Any], file: str = FILE) -> dict[str, Params]:
    """Return every block, typed, in the order of `BLOCKS`; one that `blocks` lacks has its defaults.

    Raises:
        ParamsError: a line for each wrong key, and for each block that is not known.
    """
    problems = [
        f"{file}: {name} is not a known block{_suggest(str(name), BLOCKS)}" for name in blocks if name not in BLOCKS
    ]
    checked = {}
    for name in BLOCKS:
        try:
            checked[name] = check_block(blocks, name, load_block_type(name), file)
        except ParamsError as error:
            problems.append(str(error))
    if problems:
        raise ParamsError("\n".join(problems))
    return checked


def check_block(blocks: Mapping[str, Any], name: str, block_type: type[Block], file: str = FILE) -> Block:
    """Return the block `name`, typed; keys that it lacks, and the block itself, have their defaults.

    Raises:
        ParamsError: a line for each wrong key: its full name, its value, what is allowed, and the nearest known key.
    """
    try:
        return block_type.model_validate(blocks.get(name))
    except ValidationError as error:
        lines = [f"{file}: {_describe(name, block_type, detail)}" for detail in error.errors()]
        raise ParamsError("\n".join(dict.fromkeys(lines))) from None


def read_effective_params(path: Path) -> dict[str, Any]:
    """Return all blocks of a params file as plain values, with the defaults of what it leaves out.

    Raises:
        ParamsError: the file cannot be read, or is wrong.
    """
    return {name: block.model_dump(mode="json") for name, block in check_all_blocks(read_params(path)).items()}


def format_value(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Params | RootModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{format_value(key)}: {format_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_value, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in OTHER_VALUES:
        return value
    return json.dumps(value, ensure_ascii=False)


def format_default(path: Sequence[str]) -> str:
    """Return the line of a params file that gives the key at `path` its default: `ingest: {root: inbox}`."""
    block, *keys = path
    value: Any = load_block_type(block).model_fields[keys[0]].default if keys else {}
    return f"{block}: {format_value(dict.fromkeys(keys, value))}"


def _describe_yaml_error(error: Any) -> str:
    """The line and the problem of ruamel's error."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).split("\n")[0]
    line = f"line {mark.line + 1}: " if mark else ""
    if "duplicate key" in problem:
        key = problem.split('"')[1]
        return f"{line}the key {key} is there twice: remove one of them"
    return f"is not valid YAML: {line}{problem}"


def _describe(block: str, block_type: type[BaseModel], detail: ErrorDetails) -> str:
    """One line for one of pydantic's errors."""
    path = [str(part) for part in detail["loc"] if not str(part).startswith("<")]  # tags of a union's members
    if path[-1:] == ["[key]"]:  # of a mapping whose keys are names of a table, or match a pattern
        path.pop()
        if detail["type"] == "literal_error":
            return f"{'.'.join([block, *path])} is not a known key{_suggest(path[-1], _list_expected(detail))}"
    if detail["type"] == WRONG_KEY:
        context = detail["ctx"]
        value = _show(context["value"]) + ("" if context["given"] else " (the default)")
        return f"{'.'.join([block, *path, context['key']])} is {value}; {context['clause']}"
    name = ".".join([block, *path])
    known = list(_find_keys(block_type, path[:-1]))
    match detail["type"]:
        case "extra_forbidden":
            return f"{name} is not a known key{_suggest(path[-1], known)}"
        case "missing":
            present = [key for key in detail["input"] if key not in known] if isinstance(detail["input"], dict) else []
            return f"{name} is missing, and has no default{_suggest(path[-1], present, 'did you mean it by')}"
    return f"{name} is {_show(detail['input'])}; {_say_allowed(detail)}"


_ALLOWED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda limit: "it must be true or false",
    "dict_type": lambda limit: "it must be a mapping",
    "finite_number": lambda limit: "it must be a finite number",
    "float_type": lambda limit: "it must be a number",
    "greater_than": lambda limit: f"it must be more than {limit['gt']:.12g}",
    "greater_than_equal": lambda limit: f"it must be at least {limit['ge']:.12g}",
    "int_type": lambda limit: "it must be a whole number",
    "less_than": lambda limit: f"it must be less than {limit['lt']:.12g}",
    "less_than_equal": lambda limit: f"it must be at most {limit['le']:.12g}",
    "list_type": lambda limit: "it must be a list",
    "model_type": lambda limit: "it must be a mapping",
    "string_pattern_mismatch": lambda limit: f"it must match {limit['pattern']}",
    "string_too_short": lambda limit: "it must not be empty",
    "string_type": lambda limit: "it must be a string",
    "tuple_type": lambda limit: "it must be a list",
    "value_error": lambda limit: f"it must be {limit['error']}",
}
"""What is allowed, by the type of pydantic's error."""


def _say_allowed(detail: ErrorDetails) -> str:
    context, value = detail.get("ctx", {}), detail["input"]
    if detail["type"] == "literal_error":
        names = _list_expected(detail)
        near = difflib.get_close_matches(value, names, n=1, cutoff=0.6) if isinstance(value, str) else []
        return f"it must be {_join(names)}" + (f"; did you mean {near[0]}?" if near else "")
    if detail["type"] in _ALLOWED:
        return _ALLOWED[detail["type"]](context)
    return detail["msg"].replace("Input should be", "it must be").replace("Tuple should", "it must")


def _list_expected(detail: ErrorDetails) -> list[str]:
    """The names of a literal, out of "'a', 'b' or 'c'"."""
    return [name.strip("'") for name in detail["ctx"]["expected"].replace(" or ", ", ").split(", ")]


def _join(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _show(value: object) -> str:
    """A value as a params file has it; of a mapping only that it is one."""
    value = value.root if isinstance(value, RootModel) else value
    if isinstance(value, Mapping | BaseModel):
        return "a mapping" if value else "an empty mapping"
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 1]}…"


def _find_keys(block_type: type[BaseModel], path: Sequence[str]) -> Mapping[str, object]:
    """The keys that the model at `path` below `block_type` has; of a union those of all its members."""
    models = [block_type]
    for part in path:
        hints = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        if hints:  # else the name of a union's member or the key of a mapping
            models = [model for hint in hints for model in _find_models(hint)]
    return {key: value for model in models for key, value in model.model_fields.items()}


def _find_models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        annotation = annotation.model_fields["root"].annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _find_models(argument)]


def _suggest(key: str, known: "Sequence[str] | Mapping[str, Any]", words: str = "did you mean") -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    return f"; {words} {near[0]}?" if near else (f"; known are {', '.join(known)}" if known else "")
