"""Run `shardwright build`: bring stages up to date, also without git."""

import argparse
from collections.abc import Sequence

from pipeline.errors import PipelineError
from pipeline.runtime.build import build
from shardwright.cli.main import OK, report_error, run_verb, write_line


def run(words: Sequence[str]) -> int:
    """Run `shardwright build` and return its exit code: 0 all is up to date, 2 error."""
    options = _build_parser().parse_args(words)
    try:
        return run_verb(lambda: _build(options))
    except PipelineError as error:
        return report_error(str(error))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "shardwright build",
        description="Runs the stages that are not up to date, as `dvc repro` does, in the current folder, which need "
        "not be a git repository.",
    )
    parser.add_argument("stages", metavar="STAGE", nargs="*", help="build this one and those before it (default: all)")
    parser.add_argument("--force", action="store_true", help="run them also if they are up to date")
    parser.add_argument("--dry", action="store_true", help="only print which would run, as things stand")
    parser.add_argument("--no-cache", action="store_true", help="store no outputs in DVC's cache")
    return parser


def _build(options: argparse.Namespace) -> int:
    done = build(options.stages, force=options.force, dry=options.dry, cache=not options.no_cache)
    if options.dry:
        write_line(f"would run: {', '.join(done)}")
    return OK
