"""How fast a GPU is kept busy, and whether it computes the same bits again.

    make bench-gpu
    python -m benchmarks.bench_gpu [--device cpu --side 32 --samples 64 --batch 16]

Trains ResNet-18 in bfloat16 with the trainer of the stage, on shards of arrays and of JPEG files. Beside its rate stand
the two limits, each measured in turn in the same process: a loop written by hand that takes every step on one batch
that is on the device already, and the reading of the batches alone. MFU (Chowdhery et al. 2022, "PaLM", appendix B) is
the floating-point operations that a step needs, as `torch.utils.flop_counter` counts them, times the rate, by those of
a large product of matrices in the same precision on the same device. Writes `benchmarks/results/gpu_training.md`.
"""

import argparse
import hashlib
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.support.apart import CHECKOUT
from benchmarks.support.image_shards import FORMS, write_images
from pipeline.config.params import RunParams
from pipeline.models.batches import Batch, ReadOrder, move_batch, read_batches
from pipeline.models.checkpoint import encode_weights
from pipeline.models.determinism import choose_device, deterministic_mode
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.train.params import TrainParams
from pipeline.train.saved_states import SavedStates, State
from pipeline.train.step import Course, open_splits, plan_course, train_once
from pipeline.train.team import ALONE
from pipeline.train.training_log import AUGMENTING, READING, TRAINING, TrainingLog, find_peak_memory
from pipeline.train.training_loop import Trainer

RESULT = CHECKOUT / "benchmarks/results/gpu_training.md"
PRODUCTS = 20
"""Of matrices, whose median time gives the peak."""


class Stopped(Exception):  # noqa: N818
    """What stops a training here."""


class StoppingStates(SavedStates):
    """Saved states of a training that is stopped at its first one, which is due after half of the steps."""

    steps = 0

    def is_due(self) -> bool:
        """Count the steps, and say so after half of them."""
        self.steps -= 1
        return self.steps <= 0

    def save(self, state: State) -> None:
        """Save the state and stop."""
        super().save(state)
        raise Stopped


@dataclass(frozen=True)
class Options:
    """What is measured: images of `side` × `side` pixels, and the trainings' samples, batches and passes."""

    device: str
    encoder: str
    side: int
    samples: int
    batch: int
    epochs: int

    def make_params(self) -> TrainParams:
        """Return the params of the training."""
        values = {"device": self.device, "precision": "bfloat16", "batch_size": self.batch, "epochs": self.epochs}
        return TrainParams.model_validate(values | {"encoders": {"image": {"name": self.encoder}}})


def hash_weights(trainer: Trainer) -> str:
    """Return the sha256 of the weights."""
    return hashlib.sha256(encode_weights(trainer.model.state_dict())).hexdigest()


def train_whole(course: Course, states: Path) -> tuple[str, TrainingLog]:
    """Train from the start, or from the state in the folder; return the sha256 of the weights, and where time went."""
    log = TrainingLog(None, RunParams())
    trainer, _ = train_once(course, ALONE, states, log)
    return hash_weights(trainer), log


def train_in_two(course: Course, states: Path) -> str:
    """Stop a training after half of its steps and go on with new objects; return the sha256 of the weights."""
    states.mkdir()
    with deterministic_mode(course.params.seed, course.params.threads):
        model = course.lesson.build_model().to(choose_device(course.params.device))
        trainer = Trainer(model, course.params, len(course.data))
        stopping = StoppingStates(states, lambda line: None)
        stopping.steps = trainer.steps // 2
        try:
            while True:
                order = ReadOrder(course.params.batch_size, True, course.params.seed, trainer.progress.epoch)
                batches = read_batches(course.params.reader, course.data, order)
                trainer.train_epoch(batches, stopping, TrainingLog(None, RunParams()))
                trainer.finish_epoch(None)
        except Stopped:
            pass
    return train_whole(course, states)[0]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_call(device: torch.device, call: Callable[[], object]) -> float:
    """Return the seconds of a call, on the device too."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def make_hand_loop(course: Course, device: torch.device) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """Return a step written by hand on a batch that stays, and its forward and backward pass alone."""
    params = course.params
    torch.manual_seed(params.seed)
    model = course.lesson.build_model().to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), params.learning_rate, fused=device.type == "cuda")
    batch = move_batch(next(read_all(course)), device)
    present = model.find_present(batch)

    def compute() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(model(batch, present), batch["label"])
        torch.autograd.backward(loss)
        return loss

    def step() -> None:
        compute()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step, compute


def read_all(course: Course) -> Iterator[Batch]:
    """Read an epoch."""
    return read_batches(course.params.reader, course.data, ReadOrder(course.params.batch_size, True))


def measure_peak(device: torch.device) -> float:
    """Return the floating-point operations a second of a product of matrices in bfloat16."""
    side = 8192 if device.type == "cuda" else 1024
    one = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    torch.matmul(one, one)
    seconds = statistics.median(time_call(device, lambda: torch.matmul(one, one)) for _ in range(PRODUCTS))
    return 2 * side**3 / seconds


def measure_limits(course: Course, device: torch.device) -> dict[str, float]:
    """Return the rates of the loop by hand, with deterministic kernels and with any, and of reading, in samples a
    second; and the operations of a sample."""
    params, count = course.params, len(course.data)
    steps = max(2, count // params.batch_size)
    rates = {}
    step, compute = make_hand_loop(course, device)

    def take_steps() -> None:
        for _ in range(steps):
            step()

    with deterministic_mode(params.seed, params.threads):
        with FlopCounterMode(display=False) as counter:
            compute()
        rates["operations"] = counter.get_total_flops() / params.batch_size
        take_steps()
        rates["by hand"] = steps * params.batch_size / time_call(device, take_steps)
    take_steps()
    rates["by hand, any kernels"] = steps * params.batch_size / time_call(device, take_steps)
    rates["reading alone"] = count / time_call(device, lambda: [None for _ in read_all(course)])
    return rates


def measure(options: Options, encoding: str, scratch: Path) -> dict[str, Any]:
    """Return what was measured on shards of one encoding."""
    write_images(scratch / SHARDS_FOLDER, encoding, options.side, options.samples)
    course = plan_course(options.make_params(), *open_splits(scratch))
    assert isinstance(course, Course)
    device = choose_device(options.device)
    first, _ = train_whole(course, scratch / "first")
    again, log = train_whole(course, scratch / "again")
    spent = log.seconds[TRAINING]
    return measure_limits(course, device) | {
        "training": log.find_rate(),
        "stall": log.seconds[READING] / spent,
        "augmenting": log.seconds[AUGMENTING] / spent,
        "memory": find_peak_memory(device),
        "again": again == first,
        "resumed": train_in_two(course, scratch / "resumed") == first,
    }


def report(options: Options, peak: float, measured: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of the results page."""
    device = choose_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    side = options.side
    yield "# Training on one device\n"
    yield f"{name}, PyTorch {torch.__version__}: {options.encoder} in bfloat16, deterministic kernels; {options.epochs}"
    yield f"epochs of {options.samples:,} images of {side} × {side} in batches of {options.batch}. The peak is"
    yield f"{peak / 1e12:.3g} TFLOP/s, measured. `make bench-gpu` made this.\n"
    yield "| | " + " | ".join(measured) + " |"
    yield "| --- |" + " --- |" * len(measured)
    for title, describe in ROWS.items():
        yield f"| {title} | " + " | ".join(describe(values, peak) for values in measured.values()) + " |"


Describe = Callable[[Mapping[str, Any], float], str]

ROWS: Mapping[str, Describe] = {
    "training, images/s": lambda values, peak: f"{values['training']:,.0f}",
    "… a step by hand on one batch": lambda values, peak: f"{values['by hand']:,.0f}",
    "… by hand, with any kernels": lambda values, peak: f"{values['by hand, any kernels']:,.0f}",
    "… reading alone": lambda values, peak: f"{values['reading alone']:,.0f}",
    "waiting for data": lambda values, peak: f"{values['stall']:.1%}",
    "augmenting": lambda values, peak: f"{values['augmenting']:.1%}",
    "MFU": lambda values, peak: f"{values['training'] * values['operations'] / peak:.1%}",
    "operations of an image, GFLOP": lambda values, peak: f"{values['operations'] / 1e9:.2f}",
    "peak memory, MB": lambda values, peak: f"{values['memory'] / 1e6:,.0f}",
    "the same bits again": lambda values, peak: "yes" if values["again"] else "NO",
    "the same bits after a stop": lambda values, peak: "yes" if values["resumed"] else "NO",
}
"""Of the page, by title."""


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = vars(parser.parse_args())
    out = arguments.pop("out")
    options = Options(**arguments)
    peak = measure_peak(choose_device(options.device))
    measured = {}
    for encoding in FORMS:
        with tempfile.TemporaryDirectory(prefix="shardwright-bench-") as scratch:
            measured[encoding] = measure(options, encoding, Path(scratch))
    text = "\n".join(report(options, peak, measured)) + "\n"
    out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
