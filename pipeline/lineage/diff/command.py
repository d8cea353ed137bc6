"""Run `shardwright diff`: list the samples in which two datasets differ, and the param, code or input behind it."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.lineage.diff.differences import DatasetDiffer, Difference, SampleGroup
from pipeline.lineage.diff.open_dataset import open_dataset
from pipeline.lineage.verb import run_verb, write_json, write_lines
from pipeline.tables.contracts import INGESTED_ITEMS
from shardwright.cli.main import OK, PROBLEMS


def describe_difference(found: Difference) -> Iterator[str]:
    """Yield the lines of a difference."""
    old, new, both = found.samples
    if found.equal:
        yield f"equal: {old:,} samples, dataset {found.old}"
    else:
        yield f"old dataset {found.old}, {old:,} samples"
        yield f"new dataset {found.new}, {new:,} samples"
        yield (
            f"{both:,} in both, {found.removed.count:,} removed, {found.added.count:,} added, "
            f"{found.changed.count:,} changed, {found.moved.count:,} in another split, "
            f"{found.resharded:,} in another shard"
        )
    if found.recipe:
        yield "differences in how they were made (old -> new):"
        yield from (f"  {change}" for change in found.recipe)
    yield from describe_group("removed, because in the new dataset", found.removed)
    yield from describe_group("added, because in the old dataset", found.added)
    yield from describe_group("changed", found.changed)
    yield from describe_group("in another split", found.moved)
    for folder in found.outdated:
        yield f"{folder} refers to another version of {INGESTED_ITEMS}, so it explains nothing: run `dvc repro`"


def describe_group(name: str, group: SampleGroup) -> Iterator[str]:
    """Yield the causes and samples of one kind of difference; nothing where there is none."""
    if not group.count:
        return
    yield f"{group.count:,} {name}:"
    for cause in group.causes:
        yield f"  {cause.count:,}  {cause.text}"
    for sample in group.samples:
        yield f"    {sample.key} in {sample.shard}: {sample.text}"
    if left := group.count - len(group.samples):
        yield f"    and {left:,} more, see --all"


MOST = 10
"""Samples of each kind that are listed without `--all`."""


def run(words: Sequence[str]) -> int:
    """Run `shardwright diff` and return its exit code: 0 equal, 1 different, 2 error."""
    options = _build_parser().parse_args(words)
    return run_verb(lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    most = None if options.all else MOST
    found = DatasetDiffer(open_dataset(options.old), open_dataset(options.new), most).compare()
    if options.json:
        write_json(found)
    else:
        write_lines(describe_difference(found))
    return OK if found.equal else PROBLEMS


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "shardwright diff", description="Compares two datasets sample by sample, and explains the differences."
    )
    for name in ("old", "new"):
        parser.add_argument(name, metavar=name.upper(), type=Path, help="a data folder, or a folder with dataset.json")
    parser.add_argument("--all", action="store_true", help=f"list all samples, not only {MOST} of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
