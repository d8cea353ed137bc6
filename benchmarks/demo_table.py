"""Compare fusions: train each with several seeds on all parts, measure it with every subset of them, and give the
differences to the stock fusion with intervals that are paired over seeds and test samples.

Models of the stock fusion that are trained on some parts alone show what a model of all parts loses where it lacks the
others, and what fusing gains.

All use the dataset in `data/` and the block `train` of `params.yaml`, in which nothing is changed but `fusion`,
`modalities` and `seed`. Two processes with a thread each train the models. What a model predicts is kept in `--work`,
so a run that was stopped goes on; empty the folder when data, params or code have changed.

`python -m benchmarks.demo_table` (15 minutes on 2 cores), or `make demo-table`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.support.machine import describe_machine
from pipeline.config.check_params import check_block, read_params
from pipeline.config.params import RunParams
from pipeline.models.batches import ReadOrder, open_split, read_batches
from pipeline.models.checkpoint import load_model
from pipeline.models.fusions.table import FUSIONS
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.tasks.metrics.scores import compute_f1
from pipeline.tasks.metrics.tally import Tally, average_macro
from pipeline.tasks.task import Subset, list_subsets, name_subset
from pipeline.train.params import TrainParams
from pipeline.train.step import train

RESULT = Path("benchmarks/results/demo_table.md")
PROCESSES = 2
RESAMPLES = 2000
INTERVAL = (0.025, 0.975)

Floats = NDArray[np.float64]
Predicted = Mapping[Subset, NDArray[np.int64]]
"""The numbers of the predicted classes (seeds, samples), by the parts that the models were shown."""


@dataclass(frozen=True)
class Job:
    """A model to train, the dataset, and the file for what it predicts.

    `block` is that of `params.yaml`, as types of params cannot be sent to another process.
    """

    block: Mapping[str, Any]
    data: Path
    predictions: Path


@dataclass(frozen=True)
class Measured:
    """What models predicted for the test split.

    Attributes:
        truth: the numbers of the true classes (samples,).
        fusions: by fusion.
        alone: of models of the stock fusion that saw only these parts in training, by these.
    """

    truth: NDArray[np.int64]
    fusions: Mapping[str, Predicted]
    alone: Predicted


def run_job(job: Job) -> None:
    """Train the model, and write its predictions for the test split with every subset of its parts, as numbers of
    classes (subsets, samples)."""
    params = check_block({"train": job.block}, "train", TrainParams)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / SHARDS_FOLDER).symlink_to((job.data / SHARDS_FOLDER).resolve())
        train(params, Workspace(folder, folder, folder / "cache", RunParams(workers=0, progress=False)))
        model, _ = load_model(folder / MODEL_FOLDER)
    test = open_split(job.data / SHARDS_FOLDER, "test")
    assert test is not None, "the test split has samples"
    subsets = list_subsets(model.plan.parts)
    found: dict[Subset, list[int]] = {subset: [] for subset in subsets}
    model.eval()
    with torch.inference_mode():
        for batch in read_batches(params.reader, test, ReadOrder(64)):
            encoded, present = model.encode(batch), model.find_present(batch)
            for subset in subsets:
                shown = present & torch.tensor([part in subset for part in model.plan.parts])
                found[subset] += model.predict(encoded, shown, batch).argmax(1).tolist()
    unfinished = job.predictions.with_suffix(".part.npy")
    np.save(unfinished, np.array([found[subset] for subset in subsets], np.int64))
    unfinished.replace(job.predictions)


def measure_all(data: Path, params: TrainParams, fusions: Sequence[str], seeds: int, work: Path) -> Measured:
    """Train and measure all models that `work` lacks: the stock fusion, first also on some parts alone, and others."""
    test = open_split(data / SHARDS_FOLDER, "test")
    assert test is not None, "the test split has samples"
    assert params.modalities is not None, "train.modalities names the parts"
    subsets = list_subsets(params.modalities)
    work.mkdir(parents=True, exist_ok=True)
    names = [params.fusion, *(name for name in fusions if name != params.fusion)]
    block = params.model_dump(mode="json")
    changes: dict[str, dict[str, Any]] = {params.fusion: {}}
    changes |= {name_subset(subset): {"modalities": subset} for subset in subsets[:-1]}
    changes |= {name: {"fusion": name} for name in names}
    jobs = {
        (name, seed): Job({**block, **change, "seed": seed}, data, work / f"{name}, {seed}.npy")
        for name, change in changes.items()
        for seed in range(seeds)
    }
    left = [job for job in jobs.values() if not job.predictions.exists()]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        for number, _ in enumerate(pool.map(run_job, left), 1):
            sys.stderr.write(f"{number} of {len(left)} models\n")

    def read(name: str, row: int) -> NDArray[np.int64]:
        return np.stack([np.load(jobs[name, seed].predictions)[row] for seed in range(seeds)])

    return Measured(
        np.concatenate([batch["label"].numpy() for batch in read_batches(params.reader, test, ReadOrder(64))]),
        {name: {subset: read(name, row) for row, subset in enumerate(subsets)} for name in names},
        {subset: read(name_subset(subset), -1) for subset in subsets[:-1]},
    )


def score(truth: NDArray[np.int64], predicted: NDArray[np.int64], weights: Floats) -> Floats:
    """Return the macro F1 (resamples, seeds) of predictions (seeds, samples), where each sample counts as often as
    `weights` (resamples, samples) says."""
    classes = np.arange(max(int(truth.max()), int(predicted.max())) + 1)
    actual = truth[:, None] == classes
    scores: list[Floats] = []
    for one in predicted:
        given = one[:, None] == classes
        tally = Tally(*((weights @ counted).astype(np.int64) for counted in (given & actual, actual, given)))
        scores.append(average_macro(compute_f1, tally))
    return np.stack(scores, axis=1)


class Comparison:
    """Scores and differences of predictions for the same test samples, with intervals.

    A resample draws test samples and seeds with replacement, the same for both sides of a difference.
    """

    def __init__(self, truth: NDArray[np.int64], seeds: int) -> None:
        rng = np.random.default_rng(0)
        samples = len(truth)
        self.truth = truth
        self.weights = rng.multinomial(samples, np.full(samples, 1 / samples), size=RESAMPLES).astype(float)
        self.seeds = rng.integers(seeds, size=(RESAMPLES, seeds))

    def score(self, predicted: NDArray[np.int64]) -> Floats:
        """Return the macro F1 of each seed, (seeds,)."""
        once: Floats = score(self.truth, predicted, np.ones((1, len(self.truth))))[0]
        return once

    def subtract(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> tuple[float, float, float]:
        """Return the difference of the mean macro F1, first minus second, and its interval."""
        drawn = score(self.truth, first, self.weights) - score(self.truth, second, self.weights)
        low, high = np.quantile(np.take_along_axis(drawn, self.seeds, axis=1).mean(1), INTERVAL).tolist()
        return float((self.score(first) - self.score(second)).mean()), low, high


def format_page(measured: Measured, params: TrainParams, notes: Sequence[str]) -> str:
    """Return the tables in Markdown."""
    stock, truth = measured.fusions[params.fusion], measured.truth
    subsets = list(reversed(list_subsets(list(stock)[-1])))
    seeds = len(stock[subsets[0]])
    compare = Comparison(truth, seeds)
    head = format_row(["", *map(name_subset, subsets)]) + "\n" + format_row(["---"] * (len(subsets) + 1))
    return "\n".join(
        [
            f"Macro F1 in per cent on {len(truth):,} test samples, mean and standard deviation over {seeds} seeds. The",
            "models were trained on all parts by the recipe of `params.yaml`, and are shown the parts of the column.",
            "",
            head,
            *(
                format_row([name, *(format_spread(compare.score(found[subset])) for subset in subsets)])
                for name, found in measured.fusions.items()
            ),
            "",
            f"Differences to `{params.fusion}` in points, with intervals of 95 %, paired over seeds and test samples.",
            "",
            head,
            *(
                format_row([name, *(format_difference(*compare.subtract(found[s], stock[s])) for s in subsets)])
                for name, found in measured.fusions.items()
                if name != params.fusion
            ),
            "",
            f"Models of `{params.fusion}` that were trained on some parts alone, and how far models of all parts are",
            "from them: where they lack the others, and with all.",
            "",
            format_row(["trained on", "macro F1", "all parts, shown these", "all parts, shown all"]),
            format_row(["---"] * 4),
            *(format_alone(subset, measured, stock, compare) for subset in subsets[1:]),
            "",
            *notes,
            "",
        ]
    )


def format_alone(subset: Subset, measured: Measured, stock: Predicted, compare: Comparison) -> str:
    """Return the row of models that were trained on some parts alone."""
    alone = measured.alone[subset]
    shown = [format_difference(*compare.subtract(stock[parts], alone)) for parts in (subset, list(stock)[-1])]
    return format_row([name_subset(subset), format_spread(compare.score(alone)), *shown])


def format_row(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"


def format_spread(values: Floats) -> str:
    """Return mean and standard deviation in per cent: `93.1 ± 0.8`."""
    return f"{100 * mean(values):.1f} ± {100 * stdev(values) if len(values) > 1 else 0:.1f}"


def format_difference(difference: float, low: float, high: float) -> str:
    """Return points with their interval: `+1.2 (-0.3 to +2.6)`."""
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def describe_run(seconds: float) -> Iterator[str]:
    """Yield lines on the machine, and what else ran there."""
    yield f"{describe_machine()}; {PROCESSES} processes of one thread."
    yield f"This run took {seconds / 60:.0f} minutes; at its end the load of the machine, its own included, was"
    yield f"{os.getloadavg()[2]:.1f} over 15 minutes."


def main() -> None:
    """Measure, print the page and write it to a file."""
    parser = argparse.ArgumentParser(description="Compare fusions and parts on the shards there are.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder with 5_shards")
    parser.add_argument("--work", type=Path, default=Path(".cache/demo_table"), help="keeps what models predict")
    parser.add_argument("--fusions", nargs="+", choices=list(FUSIONS), default=list(FUSIONS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to write the page to")
    options = parser.parse_args()
    params = check_block(read_params(Path("params.yaml")), "train", TrainParams)
    start = time.monotonic()
    measured = measure_all(options.data, params, options.fusions, options.seeds, options.work)
    page = format_page(measured, params, list(describe_run(time.monotonic() - start)))
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(page, encoding="utf-8")
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
