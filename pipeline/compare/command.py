"""Run `shardwright compare`: which of two models is better on the same samples, and by how much."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lineage.verb import run_verb, write_json, write_lines
from pipeline.tables.contracts import REPORT_FOLDER
from shardwright.cli.main import OK

if TYPE_CHECKING:
    from pipeline.compare.paired_scores import PairedComparison


def run(words: Sequence[str]) -> int:
    """Run `shardwright compare` and return its exit code: 0, or 2 for an error."""
    options = build_parser().parse_args(words)
    return run_verb(lambda: compare_folders(options))


def compare_folders(options: argparse.Namespace) -> int:
    """Compare the two reports, and write what was found."""
    from pipeline.compare.paired_scores import compare_predictions
    from pipeline.tasks.kept_predictions import read_kept

    found = compare_predictions(*(read_kept(find_report(folder)) for folder in (options.first, options.second)))
    if options.json:
        write_json(found)
    else:
        write_lines(describe_comparison(found))
    return OK


def find_report(folder: Path) -> Path:
    """Return the report's folder, which may be given as the `data` folder that it is in."""
    inside = folder / REPORT_FOLDER
    return inside if inside.is_dir() else folder


def describe_comparison(found: "PairedComparison") -> Iterator[str]:
    """Yield the lines of a comparison."""
    yield f"{found.samples:,} samples in {found.groups:,} groups"
    for name, score in found.scores.items():
        verdict = "no difference is shown" if score.better == "neither" else f"the {score.better} is better"
        interval = "" if score.low is None or score.high is None else f" ({score.low:+.4f} to {score.high:+.4f})"
        yield f"{name} {score.first:.4f} -> {score.second:.4f}: {verdict}, {score.difference:+.4f}{interval}"
    if found.mcnemar is not None:
        test = found.mcnemar
        yield (
            f"right in the first alone {test.first_alone:,}, in the second alone {test.second_alone:,}: "
            f"exact McNemar test p = {test.p_value:.2g}"
        )


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's words."""
    parser = argparse.ArgumentParser(
        "shardwright compare",
        description="Says which of two models is better on the same samples, and by how much: 95 % intervals of the "
        "differences of their main scores, by a paired bootstrap over groups, and McNemar's exact test.",
    )
    for name in ("first", "second"):
        parser.add_argument(name, metavar=name.upper(), type=Path, help=f"a {REPORT_FOLDER} folder, or a data folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
