"""Measure scores as a function of noise on a part, in the same pass as all else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ParamsError
from pipeline.evaluate.supplement import Supplement
from pipeline.models.batches import Batch, move_batch
from pipeline.models.inputs import PartInput, read_values
from pipeline.models.model import Model, encode_part
from pipeline.tasks.report import Cell, Curves, ReportTable, Section
from pipeline.tasks.report_blocks import to_json
from pipeline.tasks.task import ForwardPass
from shardwright.datasets.sample_rng import make_generator

SEED = 0

TEXT = (
    "The scores where Gaussian noise is added to one part, the others as they are. Its level is in standard deviations "
    "of the training split, and the same numbers are drawn for a sample at each level."
)


class NoiseMeters:
    """Measures a model with noise on a part, batch by batch; a meter of the task a part and level, and one without."""

    def __init__(self, model: Model, levels: Mapping[str, Sequence[float]]) -> None:
        """Make the meters of the levels by part.

        Raises:
            ParamsError: a part is not among those that the model sees as numbers; the message lists these.
        """
        self.model = model
        known = {source.part: number for number, source in enumerate(model.inputs) if not source.words}
        if unknown := [part for part in levels if part not in known]:
            raise ParamsError(
                f"evaluate.noise has {unknown[0]}; it must name parts that the model sees as numbers: "
                f"{', '.join(known) or 'there is none'}"
            )
        self.numbers = {part: known[part] for part in levels}
        make_meter = model.task.make_meter
        self.meters = {
            part: {level: make_meter(model.plan) for level in (0.0, *sorted(levels[part]))} for part in levels
        }

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, each after it was measured."""
        for batch in batches:
            self.add(batch)
            yield batch

    @torch.inference_mode()
    def add(self, batch: Batch) -> None:
        """Measure a batch: the encoders run once, and that of a noisy part once a level."""
        model = self.model
        moved = move_batch(batch, next(model.parameters()).device)
        encoded, present = model.encode(moved), model.find_present(moved)
        for part, meters in self.meters.items():
            number = self.numbers[part]
            source = model.inputs[number]
            values = read_values(moved, source).float()
            noise = draw_noise(source, batch["key"], values)
            for level, meter in meters.items():
                noisy = {**moved, source.name: values + level * noise}
                parts = [*encoded]
                if level:
                    parts[number] = encode_part(model.encoders[number], source, noisy)
                meter.add(ForwardPass(model, model.predict(parts, present, moved), moved, present))

    def report(self) -> Supplement:
        """Return the block `noise`: by part and level the validation scores."""
        block: dict[str, dict[str, dict[str, Any]]] = {}
        titles = self.model.task.scores
        last = list(titles)[-1]
        lines, rows = {}, list[list[Cell]]()
        for part, meters in self.meters.items():
            scores = {level: meter.compute() for level, meter in meters.items()}
            block[part] = {
                f"{level:g}": {name: to_json(value) for name, value in each.items()} for level, each in scores.items()
            }
            lines[part] = np.array(list(scores)), np.array([each[last] for each in scores.values()])
            rows += [[part, level, *each.values()] for level, each in block[part].items()]
        return Supplement(
            {"noise": block},
            sections=[Section("Noise", TEXT, "noise", "Score over noise", "noise")],
            figures={"noise": Curves(f"{titles[last]} over noise", "standard deviations", titles[last], lines)},
            tables={"noise": ReportTable({"part": "part", "level": "noise", **titles}, rows)},
        )


def draw_noise(source: PartInput, keys: Sequence[str], values: Tensor) -> Tensor:
    """Return noise of the shape of `values` (batch, *shape), in the unit of the field: a function of key and part."""
    generators = (make_generator(SEED, 0, f"noise {source.part} {key}") for key in keys)
    drawn = [generator.standard_normal(values.shape[1:], np.float32) for generator in generators]
    std = torch.tensor(source.std or (1.0,), device=values.device)
    return torch.from_numpy(np.stack(drawn)).to(values.device) * std
