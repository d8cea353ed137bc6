"""Two models are compared on the same samples: equal ones do not differ, a better one is named, others are refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.compare.command import run
from pipeline.compare.paired_scores import compare_predictions
from pipeline.errors import InputError
from pipeline.tasks.classification import ClassPlan
from pipeline.tasks.kept_predictions import RECORD, KeptPredictions, read_kept, write_kept
from pipeline.tasks.regression import NumberPlan
from pipeline.tasks.task import Predictions

PLAN = ClassPlan(("image",), ("a", "b", "c"), (1, 1, 1))
NUMBERS = NumberPlan(("image",), "label", (), "squared", 0.0, 1.0, 0.0)


def make_kept(share: float, seed: int = 0, dataset: str = "d" * 64, samples: int = 300) -> KeptPredictions:
    """Predictions of which a share is right; those of two shares are right on the same samples as far as they can."""
    truth = np.random.default_rng(1).integers(0, 3, samples)
    right = np.random.default_rng(seed).random(samples) < share
    columns: dict[str, NDArray[np.int64]] = {"truth": truth, "prediction": np.where(right, truth, (truth + 1) % 3)}
    predictions = Predictions(np.zeros(samples, "S1"), {}, columns, group_numbers=np.arange(samples) // 3)
    return KeptPredictions(predictions, "classification", PLAN, dataset, "test")


def test_a_model_does_not_differ_from_itself() -> None:
    found = compare_predictions(make_kept(0.7), make_kept(0.7))
    assert (found.samples, found.groups) == (300, 100)
    assert found.mcnemar is not None
    assert found.mcnemar.p_value == 1
    for score in found.scores.values():
        assert (score.difference, score.low, score.high, score.better) == (0, 0, 0, "neither")


def test_the_better_one_is_named_in_either_order() -> None:
    worse, good = make_kept(0.6), make_kept(0.75)
    for pair, better in (((worse, good), "second"), ((good, worse), "first")):
        found = compare_predictions(*pair)
        assert {score.better for score in found.scores.values()} == {better}
        assert found.mcnemar is not None
        assert found.mcnemar.p_value < 1e-6


def test_a_lower_error_is_better() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    kept = [
        KeptPredictions(
            Predictions(np.zeros(200, "S1"), {}, {"truth": truth, "prediction": truth + rng.normal(size=200) * noise}),
            "regression", NUMBERS, "d" * 64, "test",
        )
        for noise in (1.0, 0.3)
    ]  # fmt: skip
    found = compare_predictions(*kept)
    assert found.mcnemar is None
    assert found.scores["mae"].difference < 0
    assert {score.better for score in found.scores.values()} == {"second"}


def test_models_that_are_as_good_are_told_apart_in_few_trials() -> None:
    told = 0
    for trial in range(20):
        found = compare_predictions(make_kept(0.7, 2 * trial, samples=90), make_kept(0.7, 2 * trial + 1, samples=90))
        told += found.scores["accuracy"].better != "neither"
    assert told <= 4, "one of twenty is expected"


def test_mcnemar_is_the_exact_binomial_test() -> None:
    from scipy.stats import binomtest

    found = compare_predictions(make_kept(0.7, 1), make_kept(0.75, 2)).mcnemar
    assert found is not None
    exact = binomtest(found.first_alone, found.first_alone + found.second_alone).pvalue
    assert found.p_value == pytest.approx(exact, rel=1e-12)


def test_other_samples_are_refused() -> None:
    with pytest.raises(InputError, match=f"the first is of the dataset {'d' * 64}, the second of {'e' * 64}"):
        compare_predictions(make_kept(0.7), make_kept(0.7, dataset="e" * 64))


def test_the_command_reads_what_a_report_keeps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, share in (("a", 0.6), ("b", 0.75)):
        (tmp_path / name).mkdir()
        write_kept(tmp_path / name, make_kept(share))
    again = read_kept(tmp_path / "a")
    assert again.plan == PLAN
    assert run([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "the second is better" in capsys.readouterr().out
    assert run([str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 0
    assert '"better": "second"' in capsys.readouterr().out
    (tmp_path / "a" / "kept" / RECORD).write_text("{}")
    assert run([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "is damaged" in capsys.readouterr().err
    assert run([str(tmp_path / "none"), str(tmp_path / "b")]) == 2
    assert "is missing: evaluate again" in capsys.readouterr().err
