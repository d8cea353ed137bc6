"""Light variations of training samples, one function a modality: they change the batch, never what is stored.

Each takes a batch's values, the valid lengths or None, what is known of the input, and the draws; and gives values of
the same shape and dtype. All are gathers and fills, the same on every device.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pipeline.models.inputs import ModalityInput
from pipeline.train.keyed_random import KeyedRandom

MAX_SHIFT = 1 / 16  # of a picture's side, 4 of 64 pixels, as in the CIFAR recipe (He et al. 2015: 4 of 32)
MAX_ROLL = 1 / 8  # of a sound's length
MAX_SPAN = 1 / 8  # of a sound's length, hidden; and of its coefficients (SpecAugment, Park et al. 2019)
UNKNOWN_WORDS = 0.1  # share of words that become unknown: the unknown word's vector has to mean something
UNKNOWN = 1  # its token id; in a frozen tokenizer of others that of some token

Augment = Callable[[Tensor, Tensor | None, ModalityInput, KeyedRandom], Tensor]


def augment_image(pixels: Tensor, length: Tensor | None, source: ModalityInput, draws: KeyedRandom) -> Tensor:
    """(batch, height, width, channels): flipped left to right by half, and shifted; borders are repeated."""
    batch, height, width, _ = pixels.shape
    rows = torch.arange(height) + draws.draw_whole("shift_y", int(height * MAX_SHIFT))[:, None]
    columns = torch.arange(width) + draws.draw_whole("shift_x", int(width * MAX_SHIFT))[:, None]
    columns = torch.where(draws.draw("flip") < 0.5, width - 1 - columns, columns)
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    return pixels[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]


def augment_audio(frames: Tensor, length: Tensor | None, source: ModalityInput, draws: KeyedRandom) -> Tensor:
    """(batch, frames, coefficients): rolled around within the valid frames; a span of frames and one of coefficients
    are replaced by the training split's mean, which is where the model has its zero."""
    batch, steps, coefficients = frames.shape
    valid = torch.full((batch, 1), steps) if length is None else length.reshape(batch, 1).long()
    times = torch.arange(steps).expand(batch, steps)
    rolled = (times + ((draws.draw("roll") * 2 - 1) * MAX_ROLL * valid).long()) % valid.clamp(min=1)
    frames = frames[torch.arange(batch)[:, None], torch.where(times < valid, rolled, times)]
    hidden = _draw_span("time", times, valid, draws)[:, :, None]
    bands = torch.arange(coefficients).expand(batch, coefficients)
    hidden = hidden | _draw_span("band", bands, torch.full((batch, 1), coefficients), draws)[:, None, :]
    return torch.where(hidden, torch.tensor(source.mean or (0.0,), dtype=frames.dtype), frames)


def _draw_span(name: str, places: Tensor, size: Tensor, draws: KeyedRandom) -> Tensor:
    """(batch, places) bool: a span of up to `MAX_SPAN` of `size` (batch, 1), anywhere within it."""
    draw = draws.draw(name, 2)
    width = (draw[:, :1] * MAX_SPAN * size).long()
    first = (draw[:, 1:] * (size - width + 1)).long()
    return torch.logical_and(places >= first, places < first + width)


def augment_text(tokens: Tensor, length: Tensor | None, source: ModalityInput, draws: KeyedRandom) -> Tensor:
    """(batch, tokens): some words become the unknown word; padding stays. uint16 becomes int32: it cannot be filled."""
    forgotten = (draws.draw("words", tokens.shape[1]) < UNKNOWN_WORDS) & (tokens != 0)
    return tokens.int().masked_fill(forgotten, UNKNOWN)


def augment_video(pixels: Tensor, length: Tensor | None, source: ModalityInput, draws: KeyedRandom) -> Tensor:
    """(batch, frames, height, width, channels): every frame of a video flipped and shifted alike, as a picture is."""
    frames, channels = pixels.shape[1], pixels.shape[4]
    stacked = augment_image(pixels.permute(0, 2, 3, 1, 4).flatten(3), length, source, draws)
    return stacked.reshape(*stacked.shape[:3], frames, channels).permute(0, 3, 1, 2, 4)


AUGMENTATIONS: Mapping[str, Augment] = {
    "image": augment_image,
    "audio": augment_audio,
    "text": augment_text,
    "video": augment_video,
}
"""By modality."""


def hide_modalities(present: Tensor, chance: float, draws: KeyedRandom) -> Tensor:
    """`present` (batch, modalities) with each modality hidden at `chance`; a sample that would lose all keeps all."""
    kept = present & (draws.draw("modalities", present.shape[1]) >= chance)
    return torch.where(kept.any(1, keepdim=True), kept, present)
