"""Read `-S name=value` of a command line: params that differ from those in `params.yaml`, as `dvc exp run` has them."""

import argparse
from collections.abc import Sequence
from typing import Any

from pipeline.errors import ParamsError


def add_option(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Add the option `-S`, which may be repeated."""
    parser.add_argument(
        "-S", "--set-param", dest="changes", metavar="NAME=VALUE", action="append", default=[], help=help_text
    )


def parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    """Return the values, which are YAML, by the full names of their params.

    Raises:
        ParamsError: one is not `name=value`.
    """
    from ruamel.yaml import YAML

    parsed = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or "." not in name.strip():
            raise ParamsError(f"-S {change}: it must be NAME=VALUE, as train.epochs=10")
        parsed[name.strip()] = YAML(typ="safe").load(value)
    return parsed
