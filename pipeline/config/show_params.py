"""Run `shardwright params`: print the effective values of a params file with their meaning, as a params file."""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import RootModel

from pipeline.codegen.dvc_yaml import find_missing_keys
from pipeline.config.check_params import FILE, check_all_blocks, format_default, format_value, read_params
from pipeline.config.field_docs import describe_fields
from pipeline.config.params import Params
from pipeline.errors import PipelineError
from shardwright.cli.main import OK, report_error, run_verb, write_line

COMMENT_COLUMN = 34
"""Where comments begin, after all but the longest values."""


def run(words: Sequence[str]) -> int:
    """Run `shardwright params` and return its exit code: 0 printed, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright params",
        description="Prints all params with their meaning; [default: …] marks a value that differs from its default.",
    )
    parser.add_argument("--params", metavar="FILE", type=Path, default=Path(FILE), help=f"default: {FILE}")
    path = parser.parse_args(words).params
    try:
        return run_verb(lambda: _print_params(path))
    except PipelineError as error:
        return report_error(str(error))


def _print_params(path: Path) -> int:
    for line in list(describe_params(path)):  # nothing is printed of a file that is wrong
        write_line(line)
    return OK


def describe_params(path: Path) -> Iterator[str]:
    """Yield the lines of a params file with all values, each with the first sentence of its meaning as a comment.

    Raises:
        ParamsError: the file cannot be read, or is wrong.
    """
    given = read_params(path)
    blocks = check_all_blocks(given, str(path))
    for key in find_missing_keys(given):
        line = format_default(key)
        yield f"# {path} lacks a key that dvc.yaml watches: add `{line}`, or run `make repro`, which adds it"
    for name, block in blocks.items():
        describe_fields(type(block))
        yield _add_comment(f"{name}:", _read_first_sentence(type(block).__doc__))
        yield from _describe_keys(block, "  ")


def _describe_keys(params: Params, indent: str) -> Iterator[str]:
    for name, field in type(params).model_fields.items():
        value, default = getattr(params, name), field.get_default(call_default_factory=True)
        comment = _read_first_sentence(field.description)
        whole = isinstance(value, Params) and isinstance(default, Params)  # whose keys are marked instead
        if value != default and not whole and not field.is_required():
            comment = f"[default: {format_value(default)}] {comment}"
        yield from _describe_value(f"{indent}{name}:", value, comment)


def _describe_value(key: str, value: Any, comment: str) -> Iterator[str]:
    indent = " " * (len(key) - len(key.lstrip()) + 2)
    if isinstance(value, Params):
        yield _add_comment(key, comment)
        yield from _describe_keys(value, indent)
    elif isinstance(value, RootModel) and value.root:
        yield _add_comment(key, comment)
        for name, part in value.root.items():
            yield from _describe_value(f"{indent}{name}:", part, _read_first_sentence(type(part).__doc__))
    else:
        yield _add_comment(f"{key} {format_value(value)}", comment)


def _add_comment(line: str, comment: str) -> str:
    return f"{line:<{COMMENT_COLUMN}}  # {comment}" if comment else line


def _read_first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, on one line."""
    return re.split(r"(?<=\.)\s", " ".join((text or "").split()), maxsplit=1)[0]
