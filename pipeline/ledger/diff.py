"""`shardwright diff`: which samples two datasets differ in, and by which param, code or input."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.ledger.differences import Differ
from pipeline.ledger.sides import open_side
from pipeline.ledger.tell import tell_difference
from pipeline.ledger.verb import run_verb, write_json, write_lines
from shardwright.command import OK, PROBLEMS

MOST = 10
"""Samples that are listed of each kind unless all are asked for."""


def run(words: Sequence[str]) -> int:
    """Carry out `shardwright diff` with these arguments: 0 equal, 1 different, 2 they could not be compared."""
    options = _build_parser().parse_args(words)
    return run_verb(lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    most = None if options.all else MOST
    found = Differ(open_side(options.old), open_side(options.new), most).compare()
    if options.json:
        write_json(found)
    else:
        write_lines(tell_difference(found))
    return OK if found.equal else PROBLEMS


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("shardwright diff", description="Says how two datasets differ, and why.")
    for name in ("old", "new"):
        parser.add_argument(name, metavar=name.upper(), type=Path, help="a data folder, or a folder with dataset.json")
    parser.add_argument("--all", action="store_true", help=f"list all samples, not {MOST} of each kind")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser
