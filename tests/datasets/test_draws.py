"""Generators of samples: different for all that they depend on, and the same bits everywhere."""

from typing import Any

import numpy as np

from shardwright.datasets.sample_rng import make_generator


def test_draws_differ_by_all_that_they_depend_on() -> None:
    grid = [
        (seed, epoch, f"k{key}", place)
        for seed in range(6)
        for epoch in range(6)
        for key in range(60)
        for place in (0, 1)
    ]
    draws = np.array([make_generator(*arguments).random() for arguments in grid])
    assert len(np.unique(draws)) == len(grid)
    # 4,320 uniform draws: mean and neighbours' correlation within 4.5 standard deviations of what chance gives.
    assert abs(draws.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / len(draws))
    table = draws.reshape(6, 6, 60, 2) - 0.5
    for axis in range(4):
        products = (table * np.roll(table, 1, axis)).ravel()
        assert abs(products.mean()) < 4.5 / 12 / np.sqrt(len(products) / 2)
    assert make_generator(1, 23, "k").random() != make_generator(12, 3, "k").random()


def test_draws_are_the_same_everywhere() -> None:
    """The bits that seed 1, epoch 2, key "sample" and place 0 have given since the first release."""
    bits: Any = make_generator(1, 2, "sample").bit_generator
    assert bits.random_raw(2).tolist() == GOLDEN_BITS
    children = [make_generator(1, 2, "sample").spawn(2)[1].random() for _ in range(2)]
    assert children[0] == children[1]


GOLDEN_BITS = [10949664915827644728, 10581141868477893020]
