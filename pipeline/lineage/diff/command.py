"""`shardwright diff`: which samples two datasets differ in, and by which param, code or input."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.lineage.diff.differences import DatasetDiffer, Difference, SampleGroup
from pipeline.lineage.diff.sides import open_side
from pipeline.lineage.verb import run_verb, write_json, write_lines
from shardwright.cli.main import OK, PROBLEMS


def tell_difference(found: Difference) -> Iterator[str]:
    """The lines."""
    old, new, both = found.samples
    if found.equal:
        yield f"equal: {old:,} samples, dataset {found.old}"
    else:
        yield f"old dataset {found.old}, {old:,} samples"
        yield f"new dataset {found.new}, {new:,} samples"
        yield (
            f"{both:,} in both, {found.went.count:,} went, {found.came.count:,} came, {found.changed.count:,} changed, "
            f"{found.moved.count:,} in another split, {found.dealt:,} in another shard"
        )
    if found.making:
        yield "other than the samples"
        yield from (f"  {change}" for change in found.making)
    yield from tell_group("went, as the ledgers of the new one tell", found.went)
    yield from tell_group("came, as the ledgers of the old one tell", found.came)
    yield from tell_group("changed", found.changed)
    yield from tell_group("in another split", found.moved)


def tell_group(name: str, group: SampleGroup) -> Iterator[str]:
    """Causes and samples of one kind of difference; nothing where there is none."""
    if not group.count:
        return
    yield f"{group.count:,} {name}"
    for cause in group.causes:
        yield f"  {cause.count:,} {cause.what}"
    for sample in group.samples:
        yield f"    {sample.key} in {sample.shard}: {sample.what}"
    if left := group.count - len(group.samples):
        yield f"    and {left:,} more, see --all"


MOST = 10
"""Samples that are listed of each kind unless all are asked for."""


def run(words: Sequence[str]) -> int:
    """Carry out `shardwright diff` with these arguments: 0 equal, 1 different, 2 they could not be compared."""
    options = _build_parser().parse_args(words)
    return run_verb(lambda: _compare(options))


def _compare(options: argparse.Namespace) -> int:
    most = None if options.all else MOST
    found = DatasetDiffer(open_side(options.old), open_side(options.new), most).compare()
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
