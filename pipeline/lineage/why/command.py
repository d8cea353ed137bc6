"""Run `shardwright why`: follow a file, URL, item or sample through all stages, and explain where it ended."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pipeline.config.check_params import read_params
from pipeline.inputs.params import InputParams, SourceParams
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.verb import run_verb, write_json, write_lines
from pipeline.lineage.why.explain import explain_answer
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from shardwright.cli.main import OK, PROBLEMS

PARAMS = Path("params.yaml")


def run(words: Sequence[str]) -> int:
    """Run `shardwright why` and return its exit code: 0 found, 1 nothing has this name, 2 error."""
    parser = _build_parser()
    options = parser.parse_args(words)
    if options.most < 1:
        parser.error(f"--most is {options.most}; it must be at least 1")
    return run_verb(lambda: _answer(options))


def _answer(options: argparse.Namespace) -> int:
    tracer = open_tracer(StageTables(options.data), options.most)
    answer = tracer.answer(read_query(options.name, _find_sources(options.root)))
    if options.json:
        write_json(answer)
    else:
        write_lines(explain_answer(answer))
    return OK if answer.found else PROBLEMS


def _find_sources(root: Path | None) -> tuple[SourceParams, ...]:
    """Return `root`, or else the sources of the params file, if there is one; other keys of it may be wrong."""
    if root is not None:
        return InputParams(root=str(root)).list_sources()
    block = read_params(PARAMS).get("ingest") if PARAMS.is_file() else None
    given = block if isinstance(block, dict) else {}
    try:
        return InputParams(**{key: given[key] for key in ("root", "sources") if key in given}).list_sources()
    except ValidationError:
        return ()


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "shardwright why", description="Explains what became of a file, URL, item or sample in every stage."
    )
    parser.add_argument(
        "name",
        metavar="KEY|URL|FILE",
        help="a sample's key, a URL, a file's path (images.zip/cat.png in an archive) or name, an item's id",
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, default=Path("data"), help="data folder; default: data")
    parser.add_argument(
        "--root", metavar="FOLDER", type=Path, help="default: ingest.root or ingest.sources of params.yaml"
    )
    parser.add_argument("--most", metavar="N", type=int, default=10, help="longest list to print; default: 10")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
