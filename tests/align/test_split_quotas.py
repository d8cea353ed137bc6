"""Few groups are dealt to the splits by quota, and a split that cannot get one stops the run."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.align.params import Shares
from pipeline.align.split_quotas import FEWEST, deal_groups
from pipeline.align.step import align
from pipeline.errors import PipelineError
from pipeline.tables.contracts import SPLITS
from tests.support.aligning import open_aligned
from tests.support.item_rows import make_align_params, make_thing


@given(
    st.dictionaries(st.text(max_size=3), st.integers(1, 500), min_size=3, max_size=FEWEST - 1),
    st.sampled_from([(0.7, 0.15, 0.15), (0.98, 0.01, 0.01), (0.2, 0.4, 0.4), (0.9, 0.0, 0.1)]),
)
def test_no_split_is_empty(sizes: dict[str, int], parts: tuple[float, float, float]) -> None:
    shares = [(split, share) for split, share in zip(SPLITS, parts, strict=True) if share]
    dealt = deal_groups(sizes, shares, "0")
    assert set(dealt) == set(sizes)
    assert set(dealt.values()) == {split for split, _ in shares}
    assert dealt == deal_groups(dict(reversed(sizes.items())), shares, "0")


@pytest.mark.parametrize(
    ("count", "expected"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (6, (4, 1, 1)), (20, (14, 3, 3)), (40, (28, 6, 6))]
)
def test_equal_groups_are_dealt_by_their_shares_and_another_salt_deals_anew(
    count: int, expected: tuple[int, int, int]
) -> None:
    sizes = {f"speaker {number}": 500 for number in range(count)}
    deals = [deal_groups(sizes, list(Shares()), str(salt)) for salt in range(5)]
    assert [tuple(Counter(dealt.values())[split] for split in SPLITS) for dealt in deals] == [expected] * 5
    assert len({tuple(sorted(dealt.items())) for dealt in deals}) > 1


def test_large_groups_do_not_fill_small_splits() -> None:
    sizes = {"large": 1000} | {f"small {number}": 10 for number in range(40)}
    assert deal_groups(sizes, list(Shares()), "0")["large"] == "train"


def test_a_split_that_gets_no_group_stops(tmp_path: Path) -> None:
    rows = [row for number in range(30) for row in make_thing(f"cat/{number}", group="ab"[number % 2])]
    message = r"^align\.shares gives test a share, but there are too few groups: 30 samples, of which the group 'a'"
    with pytest.raises(PipelineError, match=message):
        align(make_align_params(max_group=1.0), open_aligned(tmp_path / "a", rows))
    shares = {"train": 0.5, "val": 0.5, "test": 0.0}
    align(make_align_params(max_group=1.0, shares=shares), open_aligned(tmp_path / "b", rows))


def test_of_few_samples_a_split_may_be_empty(tmp_path: Path) -> None:
    rows = [row for number in range(2) for row in make_thing(f"cat/{number}")]
    align(make_align_params(), open_aligned(tmp_path, rows))
