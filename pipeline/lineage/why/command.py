"""`shardwright why`: the way of one thing through all stages, and why it ended where it did."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.params import read_params
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.verb import run_verb, write_json, write_lines
from pipeline.lineage.why.explain import explain_answer
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from shardwright.cli.main import OK, PROBLEMS

PARAMS = Path("params.yaml")


def run(words: Sequence[str]) -> int:
    """Carry out `shardwright why`: 0 found, 1 nothing is called so, 2 it could not be looked for."""
    parser = _build_parser()
    options = parser.parse_args(words)
    if options.most < 1:
        parser.error(f"--most is {options.most}, at least 1 is wanted")
    return run_verb(lambda: _answer(options))


def _answer(options: argparse.Namespace) -> int:
    tracer = open_tracer(StageTables(options.data), options.most)
    answer = tracer.answer(read_query(options.thing, options.root or _find_root()))
    if options.json:
        write_json(answer)
    else:
        write_lines(explain_answer(answer))
    return OK if answer.found else PROBLEMS


def _find_root() -> Path | None:
    """`ingest.root`, where there are params."""
    block = read_params(PARAMS).get("ingest") if PARAMS.is_file() else None
    root = block.get("root") if isinstance(block, dict) else None
    return Path(root) if isinstance(root, str) else None


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("shardwright why", description="Says what became of one thing, and why.")
    parser.add_argument(
        "thing", metavar="KEY|URL|FILE", help="a sample's key, a URL, a file's path or name, an item's id"
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, default=Path("data"), help="by default data")
    parser.add_argument("--root", metavar="FOLDER", type=Path, help="by default ingest.root of params.yaml")
    parser.add_argument("--most", metavar="N", type=int, default=10, help="of several things told, by default 10")
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser
