"""95 % intervals hold the score of the population in 92 to 99 % of splits, also where classes are rare.

The sweep prints the table: `pytest -s -m sweep tests/evaluate/test_coverage.py`.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.tasks.classification import ClassPlan, tabulate
from pipeline.tasks.metrics import bootstrap
from pipeline.tasks.metrics.bootstrap import estimate_intervals
from pipeline.tasks.task import Predictions

Samples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]

POPULATION = 200_000
"""Samples from which the scores of the population are counted."""


@dataclass(frozen=True)
class World:
    """A population: classes with shares by a power law and recalls of their own, groups that are better or worse.

    Attributes:
        classes: how many.
        samples, groups: of a split.
        power: by which the shares of the classes fall.
        recalls: the least and the highest.
        spread: standard deviation of the log odds of groups.
    """

    classes: int
    samples: int
    groups: int
    power: float = 1.2
    recalls: tuple[float, float] = (0.5, 0.95)
    spread: float = 0.0

    def draw(self, rng: np.random.Generator, groups: int) -> Samples:
        """Return groups, truth and prediction of a split."""
        shares = 1 / np.arange(1, self.classes + 1) ** self.power
        shares /= shares.sum()
        recalls = np.linspace(*self.recalls, self.classes)[np.random.default_rng(0).permutation(self.classes)]
        of = np.repeat(np.arange(groups), self.samples // self.groups)
        truth, wrong = (rng.choice(self.classes, len(of), p=shares) for _ in range(2))
        odds = np.log(recalls / (1 - recalls))[truth] + rng.normal(0, self.spread, groups)[of]
        right = rng.random(len(of)) < 1 / (1 + np.exp(-odds))
        return of, truth, np.where(right, truth, np.where(wrong == truth, (wrong + 1) % self.classes, wrong))


WORLDS = {
    "even classes": World(12, 96, 96, power=0),
    "some rare": World(10, 200, 50, spread=0.5),
    "most rare": World(20, 200, 200),
    "one sample a class": World(30, 60, 60, recalls=(0.6, 0.9)),
    "rare, good": World(10, 400, 40, power=2, recalls=(0.8, 0.99), spread=0.5),
    "rare, bad": World(10, 200, 200, power=2, recalls=(0.1, 0.4)),
    "20 groups that differ": World(20, 200, 20, spread=1.0),
    "10 groups": World(10, 100, 10, spread=0.5),
}


def measure_coverage(world: World, splits: int) -> dict[str, tuple[float, float]]:
    """Return for each score how often its interval holds the population's, over the classes that the split has, and
    the mean width."""
    rng = np.random.default_rng(5)
    everything = world.draw(rng, POPULATION * world.groups // world.samples)
    plan = ClassPlan(("image",), tuple(map(str, range(world.classes))), (1,) * world.classes)
    counts = np.stack([np.bincount(n, minlength=world.classes) for n in (*everything[1:], everything[1])]).astype(float)
    counts[2] = np.bincount(everything[1][everything[1] == everything[2]], minlength=world.classes)
    f1, accuracy = 2 * counts[2] / (counts[0] + counts[1]), counts[2].sum() / counts[0].sum()
    held: dict[str, list[bool]] = {"accuracy": [], "macro_f1": []}
    widths: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
    for _ in range(splits):
        groups, truth, predicted = world.draw(rng, world.groups)
        keys = np.array([b"key"] * len(groups), "S64")
        found = estimate_intervals(
            tabulate(Predictions(keys, {}, {"truth": truth, "prediction": predicted}, group_numbers=groups), plan)
        )
        true = {"accuracy": accuracy, "macro_f1": f1[np.unique(truth)].mean()}
        for name, interval in found.items():
            assert interval is not None
            held[name].append(bool(interval[0] <= true[name] <= interval[1]))
            widths[name].append(interval[1] - interval[0])
    return {name: (float(np.mean(held[name])), float(np.mean(widths[name]))) for name in held}


@pytest.mark.parametrize("name", ["most rare", "some rare"])
def test_intervals_cover_with_rare_classes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    for coverage, _ in measure_coverage(WORLDS[name], 150).values():
        assert 0.9 <= coverage <= 1.0


@pytest.mark.sweep
def test_intervals_cover_in_every_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 2000)
    print()
    for name, world in WORLDS.items():
        found = measure_coverage(world, 1000)
        shown = "  ".join(f"{score} {coverage:.3f} (width {width:.3f})" for score, (coverage, width) in found.items())
        print(f"{name:>24}: {shown}")
        assert all(0.92 <= coverage <= 0.97 for coverage, _ in found.values()), name
