"""Deal samples to folds, of which one is the test split: k of them, one for each group, or those that the data gives.

A fold has whole groups. The deal is the same whichever fold is tested on, so over all of them each sample is tested
exactly once.
"""

from pipeline.align.alignment import Alignment, map_values
from pipeline.align.given_splits import FOLD_NAMES, place_given
from pipeline.align.params import BY_GROUP, BY_SPLIT
from pipeline.align.split_quotas import count_few, make_choice
from pipeline.errors import InputError, PipelineError

GROUP_SIZES = (
    "SELECT name, count(*) FROM groups SEMI JOIN samples USING (sample) GROUP BY name ORDER BY name LIMIT $most"
)
"""Groups and their samples; of many groups some."""

FOLDED = {
    "hash": """
        CREATE TABLE folded AS
        SELECT sample, choose_fold(name)::INTEGER AS fold, NULL::VARCHAR AS name
        FROM groups SEMI JOIN samples USING (sample)
    """,
    BY_GROUP: """
        CREATE TABLE folded AS
        SELECT sample, dense_rank() OVER (ORDER BY try_cast(name AS UBIGINT) NULLS LAST, name) - 1 AS fold, name
        FROM groups SEMI JOIN samples USING (sample)
    """,
    BY_SPLIT: """
        CREATE TABLE folded AS
        SELECT
            sample, dense_rank() OVER (ORDER BY list_position($names, placed.split)) - 1 AS fold, placed.split AS name
        FROM placed SEMI JOIN samples USING (sample)
    """,
}
"""The number of each sample's fold, and its name. Groups that are called by numbers are in the order of these."""

PLACED = """
    CREATE OR REPLACE TABLE placed AS
    SELECT sample, CASE WHEN fold = $fold THEN 'test' ELSE 'train' END AS split FROM folded
"""

COUNT_FOLDS = "SELECT count(DISTINCT fold) FROM folded"

WRITE_FOLDS = """
    SELECT fold, folded.name, count(*) AS samples, count(DISTINCT "group") AS groups
    FROM folded JOIN planned USING (sample) GROUP BY ALL ORDER BY fold
"""
"""The content of `4_aligned/folds`."""


def deal_folds(alignment: Alignment) -> None:
    """Create the tables `folded` and `placed`, with the samples of `align.fold` in test and all others in train.

    Raises:
        InputError: there are fewer groups than folds, or fewer folds than `align.fold` says.
    """
    database, params = alignment.database, alignment.params
    if params.folds == BY_SPLIT:
        place_given(alignment)
        database.execute(FOLDED[BY_SPLIT], {"names": FOLD_NAMES})
    elif params.folds == BY_GROUP:
        database.execute(FOLDED[BY_GROUP])
    else:
        _add_choice(alignment, int(params.folds or 0))
        database.execute(FOLDED["hash"])
    ((count,),) = database.fetch(COUNT_FOLDS)
    if params.fold >= count:
        raise InputError(
            f"align.fold is {params.fold}; it must be less than {count}, the number of folds by align.folds "
            f"({params.folds})"
        )
    database.execute(PLACED, {"fold": params.fold})


def _add_choice(alignment: Alignment, folds: int) -> None:
    """Make the function `choose_fold` of a group's name."""
    import pyarrow as pa

    database = alignment.database
    shares = [(str(fold), 1 / folds) for fold in range(folds)]
    sizes = dict(database.fetch(GROUP_SIZES, {"most": count_few(shares)}))
    if len(sizes) < folds:
        raise InputError(
            f"align.folds is {folds}; it must be at most {len(sizes)}, the number of groups: a group is never divided. "
            "A group is what the data names so (`group` in patterns or table), and what shares duplicates"
        )
    choose = make_choice(sizes, shares, f"{alignment.params.salt}\0folds")
    database.add_function("choose_fold", map_values(choose, pa.string()), ["VARCHAR"], "VARCHAR")


def describe_fold(alignment: Alignment, tested: int) -> str:
    """Return which fold is tested on, for the summary."""
    params = alignment.params
    ((count,),) = alignment.database.fetch(COUNT_FOLDS)
    ((name,),) = alignment.database.fetch("SELECT min(name) FROM folded WHERE fold = $fold", {"fold": params.fold})
    called = "" if name is None else f", {name!r}"
    return f"test is fold {params.fold} of {count} from 0 on{called}: {tested} samples"


def check_folds(alignment: Alignment, tested: int) -> None:
    """Check that the fold that is tested on still has samples.

    Raises:
        PipelineError: it has none.
    """
    if not tested:
        raise PipelineError(
            f"align.fold is {alignment.params.fold}, of whose samples none is left: see the table dropped, and "
            "align.min_samples, in params.yaml"
        )
