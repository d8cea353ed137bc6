"""Assign samples to splits: by a hash of their group, by quota where there are few groups, or as the data says."""

from collections.abc import Mapping

from pipeline.align.alignment import Alignment, map_values
from pipeline.align.deal_folds import check_folds, deal_folds
from pipeline.align.given_splits import place_given
from pipeline.align.split_quotas import Share, count_few, make_choice
from pipeline.errors import InputError, PipelineError

SMALL = 20  # samples: of so few, one group may well be a fifth

UNPLACED = "CREATE TABLE placed AS SELECT sample, 'train' AS split FROM groups"

GROUP_SIZES = """
    SELECT name, count(*) FROM groups SEMI JOIN samples USING (sample) JOIN placed USING (sample)
    WHERE placed.split = 'train' GROUP BY name ORDER BY name LIMIT $most
"""
"""Groups that are in train, and their samples; of many groups some."""

DIVIDE = """
    UPDATE placed SET split = choose_split(name) FROM groups
    WHERE placed.sample = groups.sample AND placed.split = 'train'
"""

LARGEST = """
    SELECT name, count(*) AS size FROM groups SEMI JOIN samples USING (sample)
    GROUP BY name ORDER BY size DESC, min(sample) LIMIT 1
"""

COUNT_GIVEN = "SELECT count(*) FROM placed SEMI JOIN samples USING (sample) WHERE split = 'val'"


def place_samples(alignment: Alignment) -> None:
    """Create the table `placed`, which gives every sample its split: that of its group.

    Where the data names the splits, or one of several folds is tested on, validation samples may be divided from the
    others.

    Raises:
        InputError: there are fewer groups than folds, or no fold of the number; or validation samples are to be
            divided from those of train, and the data names some.
    """
    database, params = alignment.database, alignment.params
    if params.folds is not None:
        deal_folds(alignment)
        rest = params.shares.train + params.shares.val
        _divide_train(alignment, params.shares.val / rest, f"{params.salt}\0{params.fold}")
    elif params.split == "hash":
        database.execute(UNPLACED)
        _divide(alignment, list(params.shares), params.salt)
    else:
        place_given(alignment)
        _divide_train(alignment, params.val_from_train, params.salt)


def _divide_train(alignment: Alignment, share: float, salt: str) -> None:
    """Move groups with this share of the samples in train to val."""
    if not share:
        return
    ((given,),) = alignment.database.fetch(COUNT_GIVEN)
    if given:
        raise InputError(
            f"align.val_from_train is {share:g}, but the data names val as the split of {given} samples: set it to 0"
        )
    _divide(alignment, [("train", 1 - share), ("val", share)], salt)


def _divide(alignment: Alignment, shares: list[Share], salt: str) -> None:
    """Assign the groups in train to the splits that have a share."""
    import pyarrow as pa

    database, used = alignment.database, [(split, share) for split, share in shares if share > 0]
    choose = make_choice(dict(database.fetch(GROUP_SIZES, {"most": count_few(used)})), used, salt)
    database.add_function("choose_split", map_values(choose, pa.string()), ["VARCHAR"], "VARCHAR")
    database.execute(DIVIDE)


def check_splits(alignment: Alignment, counts: Mapping[str, int]) -> None:
    """Check the splits of more than `SMALL` samples, where the hash assigns them.

    Args:
        alignment: with its samples in splits.
        counts: samples of each split that has any.

    Raises:
        PipelineError: a split has a share and no samples, or a group holds more than `max_group` of the samples, or the
            fold that is tested on has none; the message names it and the settings.
    """
    params, count = alignment.params, sum(counts.values())
    if params.folds is not None:
        check_folds(alignment, counts.get("test", 0))
        return
    if params.split != "hash" or count <= SMALL:
        return
    ((group, size),) = alignment.database.fetch(LARGEST)
    if empty := " and ".join(split for split, share in params.shares if share > 0 and not counts.get(split)):
        raise PipelineError(
            f"align.shares gives {empty} a share, but there are too few groups: {count} samples, of which the group "
            f"{group!r} holds {size}, and a group is never divided. Set the share of {empty} to 0 in params.yaml, or "
            "change what makes a group (`group` in patterns or table, align.duplicates.share_split)"
        )
    if size > params.max_group * count:
        raise PipelineError(
            f"align.max_group is {params.max_group:g}, but the group {group!r} holds {size} of {count} samples "
            f"({size / count:.0%}): they share duplicates, or a group that the data names. Look at them, then "
            "set align.duplicates.share_split to all, or raise align.max_group in params.yaml"
        )
