"""What `diff` says, for people: the counts first, then causes, then samples."""

from collections.abc import Iterator

from pipeline.ledger.differences import Difference, Group


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


def tell_group(name: str, group: Group) -> Iterator[str]:
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
