"""Augment training batches, one function a modality; the shards stay as they are.

Each function takes a batch's values, the valid lengths (batch,) or None, the modality's input and random numbers, and
returns values of the same shape. All are gathers and fills, on the device of the values, and the same on every one.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from pipeline.models.batches import Batch
from pipeline.models.choose_fields import OWN_IDS
from pipeline.models.inputs import PartInput, read_values
from pipeline.train.keyed_random import KeyedRandom
from pipeline.train.params import TrainParams

if TYPE_CHECKING:
    from pipeline.models.model import Model

MAX_SHIFT = 1 / 16  # of an image's side, 4 of 64 pixels, as in the CIFAR recipe (He et al. 2015: 4 of 32)
MAX_ROLL = 1 / 8  # of the valid frames of audio
MAX_SPAN = 1 / 8  # of the valid frames of audio, masked; and of its coefficients (SpecAugment, Park et al. 2019)
PADDING = 0  # the id after the end of a text
UNKNOWN_SHARE = 0.1  # of words that become the unknown word, so that its embedding is trained

PreparedBatch: TypeAlias = tuple[Batch, Tensor]
"""A batch as the model learns from it, and the parts that it is shown of each sample, (batch, parts) bool."""

Augment = Callable[[Tensor, Tensor | None, PartInput, KeyedRandom], Tensor]


def select_rows(values: Tensor, places: Tensor) -> Tensor:
    """Return of (batch, rows, …) for each sample the rows at `places` (batch, count): (batch, count, …).

    `values[samples, places]` is the same, and takes three to four times as long on a CPU.
    """
    batch, rows = values.shape[:2]
    first = torch.arange(batch, device=values.device)[:, None] * rows
    selected = values.flatten(0, 1).index_select(0, (first + places).flatten())
    return selected.view(*places.shape, *values.shape[2:])


def augment_image(pixels: Tensor, length: Tensor | None, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Flip half of (batch, height, width, channels) left to right, and shift all; the border is repeated."""
    (_, height, width, _), device = pixels.shape, pixels.device
    rows = torch.arange(height, device=device) + rng.integers("shift_y", int(height * MAX_SHIFT))[:, None]
    columns = torch.arange(width, device=device) + rng.integers("shift_x", int(width * MAX_SHIFT))[:, None]
    columns = torch.where(rng.uniform("flip") < 0.5, width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    places = rows[:, :, None] * width + columns[:, None, :]
    return select_rows(pixels.flatten(1, 2), places.flatten(1)).view(pixels.shape)


def augment_audio(frames: Tensor, length: Tensor | None, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Roll (batch, frames, coefficients) within the valid frames; mask a span of frames and one of coefficients.

    Masked values are the training split's mean, which the model scales to zero.
    """
    (batch, steps, coefficients), device = frames.shape, frames.device
    valid = (torch.full((batch,), steps, device=device) if length is None else length).reshape(batch, 1).long()
    times = torch.arange(steps, device=device).expand(batch, steps)
    rolled = (times + ((rng.uniform("roll") * 2 - 1) * MAX_ROLL * valid).long()) % valid.clamp(min=1)
    frames = select_rows(frames, torch.where(times < valid, rolled, times))
    masked = _choose_span("time", times, valid, rng)[:, :, None]
    bands = torch.arange(coefficients, device=device).expand(batch, coefficients)
    masked = masked | _choose_span("band", bands, torch.full_like(valid, coefficients), rng)[:, None, :]
    return torch.where(masked, torch.tensor(source.mean or (0.0,), dtype=frames.dtype, device=device), frames)


def _choose_span(name: str, indices: Tensor, size: Tensor, rng: KeyedRandom) -> Tensor:
    """Return a mask over `indices` (batch, steps): a span of up to `MAX_SPAN` of `size` (batch, 1), anywhere within."""
    numbers = rng.uniform(name, 2)
    width = (numbers[:, :1] * MAX_SPAN * size).long()
    first = (numbers[:, 1:] * (size - width + 1)).long()
    return torch.logical_and(indices >= first, indices < first + width)


def augment_text(tokens: Tensor, length: Tensor | None, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Replace some words of (batch, tokens) by the unknown word, of (batch, tokens, kinds) all ids that are of the
    vocabulary; padding and marks stay.

    uint16 becomes int32: PyTorch cannot fill uint16.
    """
    replaced = rng.uniform("words", tokens.shape[1]) < UNKNOWN_SHARE
    if tokens.ndim == 3:
        known = [words != OWN_IDS for words in (source.words, *source.joined_words)]
        kinds = torch.tensor(known, device=tokens.device)
        replaced = replaced.unsqueeze(2) & kinds
    ids = tokens.int()
    kept = torch.isin(ids, torch.tensor([PADDING, *source.marks], dtype=torch.int32, device=ids.device))
    return ids.masked_fill(replaced & ~kept, source.unknown)


def augment_video(pixels: Tensor, length: Tensor | None, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Flip and shift (batch, frames, height, width, channels) as an image, every frame of a video alike."""
    frames, channels = pixels.shape[1], pixels.shape[4]
    stacked = augment_image(pixels.permute(0, 2, 3, 1, 4).flatten(3), length, source, rng)
    return stacked.reshape(*stacked.shape[:3], frames, channels).permute(0, 3, 1, 2, 4)


def leave_vector(values: Tensor, length: Tensor | None, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Return vectors (batch, channels) as they are: what they were made of is augmented no more."""
    return values


AUGMENTATIONS: Mapping[str, Augment] = {
    "image": augment_image,
    "audio": augment_audio,
    "text": augment_text,
    "video": augment_video,
    "vector": leave_vector,
}
"""By modality."""


def augment_part(batch: Batch, source: PartInput, rng: KeyedRandom) -> Tensor:
    """Return the augmented values of one part of a batch, each of several items in its own way.

    Parts of one modality share the random numbers of a sample: images of before and after are flipped together.
    """
    values, length = read_values(batch, source), None if source.length is None else batch[source.length]
    augment = AUGMENTATIONS[source.modality]
    if source.count is None:
        return augment(values, length, source, rng)
    flat = None if length is None else length.flatten()
    each = augment(values.flatten(0, 1), flat, source, rng.number_items(values.shape[1]))
    return each.reshape(*values.shape[:2], *each.shape[1:])


def hide_parts(present: Tensor, chance: float, rng: KeyedRandom) -> Tensor:
    """Hide each part of `present` (batch, parts) bool at `chance`; a sample that would lose all keeps all."""
    shown = present & (rng.uniform("modalities", present.shape[1]) >= chance)
    return torch.where(shown.any(1, keepdim=True), shown, present)


def prepare_batch(batch: Batch, model: "Model", params: TrainParams, epoch: int) -> PreparedBatch:
    """Return a batch, on any device, as the model there learns from it in an epoch: augmented, and with parts hidden if
    they are fused: where they are compared with each other, there is nothing to do without."""
    present = model.find_present(batch)
    rng = KeyedRandom.for_samples(params.seed, epoch, batch["key"], present.device)
    if model.task.fuses:
        present = hide_parts(present, params.modality_dropout, rng)
    if params.augment:
        batch = batch | {source.name: augment_part(batch, source, rng) for source in model.inputs}
    return batch, present
