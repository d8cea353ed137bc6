"""The group that smooths accuracy varies as much as the groups that there are."""

import numpy as np
import pytest

from pipeline.tasks.metrics.sums import size_prior_group


@pytest.mark.parametrize(
    ("hits", "samples", "size"),
    [
        ([1, 0, 1, 1], [1, 1, 1, 1], 1.0),
        ([9, 0, 9, 0], [9, 9, 9, 9], 9.0),  # the samples of a group agree
        ([9, 9, 9], [9, 9, 9], 3.0),  # nothing is known of whether they do
        ([3, 3, 3, 3], [9, 9, 9, 9], 3.0),  # groups vary less than independent samples
        ([5], [16], 4.0),
    ],
)
def test_it_is_between_the_root_of_a_group_and_a_group(hits: list[int], samples: list[int], size: float) -> None:
    assert size_prior_group(np.array(hits, float), np.array(samples, float)) == pytest.approx([size])


def test_independent_samples_have_no_design_effect() -> None:
    rng = np.random.default_rng(0)
    hits = rng.binomial(16, 0.7, 4000).astype(float)
    assert size_prior_group(hits, np.full(4000, 16.0))[0] == pytest.approx(4, rel=0.05)
