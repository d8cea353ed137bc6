"""Run `shardwright batch`: show the samples of any step of a training, and write the batch as the model got it.

Order and augmentation follow from the params and the data, so nothing has to be recorded, and no step before has to be
taken.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config.check_params import FILE, check_block, read_params
from pipeline.errors import InputError
from pipeline.lineage.verb import run_verb, write_lines
from pipeline.models.untrained import Untrained
from pipeline.train.params import TrainParams
from pipeline.train.step import Course, open_splits, plan_course
from shardwright.cli.main import OK
from shardwright.format.atomic_write import write_file

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.models.batches import Batch

NAMES = ("file", "url", "id")
"""By which of its origins an item is named: the first one that it has."""


def run(words: Sequence[str]) -> int:
    """Run `shardwright batch` and return its exit code: 0 shown, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright batch", description="Shows the samples of a step of training, and where they come from."
    )
    parser.add_argument("--step", type=int, required=True, help="number of the step, from 1 on")
    parser.add_argument("--params", metavar="FILE", type=Path, default=Path(FILE), help=f"default: {FILE}")
    parser.add_argument("--model", metavar="FOLDER", type=Path, help="take the params of this model instead")
    parser.add_argument("--data", metavar="FOLDER", type=Path, default=Path("data"), help="default: data")
    parser.add_argument("--save", metavar="FILE", type=Path, help="write the augmented batch as safetensors")
    options = parser.parse_args(words)
    return run_verb(lambda: _show(options))


def _show(options: argparse.Namespace) -> int:
    course = plan_run(options.data, options.params, options.model)
    step = find_step(course, options.step)
    content = encode_batches(course, step)
    if options.save:
        write_file(options.save, [content])
    write_lines(describe_step(course, step, hashlib.sha256(content).hexdigest()))
    return OK


@dataclass(frozen=True)
class Step:
    """A step of a training: its number, its epoch, the number of its first batch in that, and its batches."""

    number: int
    epoch: int
    start: int
    batches: "Sequence[Batch]"


def plan_run(data: Path, params: Path, model: Path | None) -> Course:
    """Return what is learned from the dataset in the folder `data` with a params file, or as a model was trained.

    Raises:
        InputError: there is no dataset, nothing to learn, or the model was trained on another dataset.
    """
    from pipeline.models.record import read_record

    train, val = open_splits(data)
    if model is None:
        block = check_block(read_params(params), "train", TrainParams)
    else:
        record = read_record(model)
        if record.dataset != train.hash:
            raise InputError(f"{model} was trained on the dataset {record.dataset}, {data} has {train.hash}")
        block = check_block({"train": dict(record.params)}, "train", TrainParams)
    course = plan_course(block, train, val)
    if isinstance(course, Untrained):
        raise InputError(course.reason)
    return course


def find_step(course: Course, number: int) -> Step:
    """Return a step with its batches as they are read.

    Raises:
        InputError: there is no such step; the message says how many there are.
    """
    from itertools import islice

    from pipeline.models.batches import ReadOrder, read_batches
    from pipeline.train.training_loop import count_steps

    params, steps = course.params, count_steps(len(course.data), course.params)
    if not 1 <= number <= steps * params.epochs:
        raise InputError(f"--step is {number}; it must be from 1 to {steps * params.epochs}")
    epoch, before = divmod(number - 1, steps)
    start = before * params.accumulate
    order = ReadOrder(params.batch_size, True, params.seed, epoch + 1, start)
    batches = list(islice(read_batches(params.reader, course.data, order), params.accumulate))
    return Step(number, epoch + 1, start, batches)


def encode_batches(course: Course, step: Step) -> bytes:
    """Return the batches of a step as safetensors, as the model got them.

    Of the first one each field has its name, and `present` (samples, parts) the parts that were shown; those of further
    ones have `.2` and so on behind.
    """
    from pipeline.models.checkpoint import encode_weights
    from pipeline.train.augment import prepare_batch

    model = course.lesson.build_model()
    tensors: dict[str, Tensor] = {}
    for number, batch in enumerate(step.batches, 1):
        prepared, present = prepare_batch(batch, model, course.params, step.epoch)
        suffix = f".{number}" if number > 1 else ""
        tensors |= {f"{name}{suffix}": value for name, value in _list_tensors(prepared)}
        tensors[f"present{suffix}"] = present
    return encode_weights(tensors)


def _list_tensors(batch: "Batch") -> "Iterator[tuple[str, Tensor]]":
    return ((name, value) for name, value in batch.items() if hasattr(value, "dtype"))


def describe_step(course: Course, step: Step, sha256: str) -> Iterator[str]:
    """Yield where the step is in the training, and a line for each sample: its key and the names of its items."""
    from pipeline.train.training_loop import count_steps

    params = course.params
    steps = count_steps(len(course.data), params)
    yield f"step {step.number} of {steps * params.epochs}: epoch {step.epoch} of {params.epochs}, seed {params.seed}"
    yield f"sha256 of the batch {sha256}"
    for batch in step.batches:
        for key in batch["key"]:
            meta = course.data.meta(course.data.find_sample(key))
            yield "  ".join([key, *name_items(meta)])


def name_items(meta: dict[str, Any]) -> Iterator[str]:
    """Yield `image photos/1.jpg` for each item of a sample, from its metadata."""
    for part, items in (meta.get("items") or {}).items():
        for item in items if isinstance(items, list) else [items]:
            names = [item[name] for name in NAMES if item.get(name)]
            yield f"{part} {names[0] if names else 'of unknown origin'}"
