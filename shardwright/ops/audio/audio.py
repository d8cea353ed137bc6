"""Decode audio: the span that is wanted, at one rate, as samples or features straight in the row of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate, allocate_rows
from shardwright.datasets.read_context import Content
from shardwright.format.field import Field
from shardwright.ops.audio.audio_file import Samples
from shardwright.ops.audio.mel import Features
from shardwright.ops.audio.open_audio import MAX_RATE, MIN_RATE, open_audio
from shardwright.ops.audio.resample import count_resampled, read_resampled
from shardwright.ops.operation import Contents, Operation
from shardwright.ops.spans import Span
from shardwright.webdataset.limits import DEFAULT_LIMITS

LENGTH = Field("int64", ())


@dataclass(frozen=True)
class Audio(Operation):
    """A span of an audio file, float32, full scale ±1, resampled to one rate.

    WAV files are read where they are, FLAC, Ogg (Vorbis, Opus) and MP3 files by libsndfile, AAC in MP4 by FFmpeg: only
    the span is decoded. AAC without a container (ADTS) and audio in Matroska or WebM are decoded whole. The samples
    are those of the file decoded and resampled whole, within 1e-6; see `shardwright.ops.audio.ffmpeg` for the noise of
    AAC.

    A batch has, of a field `audio`:

    - `audio`: float32 (batch, samples), or with features (batch, frames, values); a clip that is shorter is followed by
      zeros. With `Whole`, or without `mono`, a list of arrays (samples,), (samples, channels) or (frames, values).
    - `audio_length`: int64 (batch,), the samples or frames that are the clip's own.

    Features are computed of the clip's own samples, so they do not depend on the padding.

    Args:
        span: `RandomSpan`, `CenterSpan`, `FirstSpan` or `Whole`, in seconds.
        rate: Hz.
        mono: average the channels; else they are kept.
        features: `LogMel` or `Mfcc`; None is the samples.
        max_values: frames × channels of the file; more are refused before they are decoded.
        stream: the name of the random numbers; None is the field's own name.

    Raises:
        TypeError, ValueError: an argument is not allowed.
    """

    span: Span
    rate: int = 16_000
    mono: bool = True
    features: Features | None = None
    max_values: int = DEFAULT_LIMITS.audio_values
    stream: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.span, Span):
            raise TypeError(f"span is {self.span!r:.80}; it must be a span, such as ops.RandomSpan(2.0)")
        if type(self.rate) is not int or not MIN_RATE <= self.rate <= MAX_RATE:
            raise ValueError(f"rate is {self.rate!r:.80}; it must be a whole number from {MIN_RATE} to {MAX_RATE}")
        if round(self.span.most * self.rate) < 1:
            raise ValueError(f"span is {self.span!r}; it must have a sample at {self.rate} Hz")
        if self.max_values < 1:
            raise ValueError(f"max_values is {self.max_values!r}; it must be at least 1")
        if self.features is not None:
            if not isinstance(self.features, Features):
                raise TypeError(f"features is {self.features!r:.80}; it must be ops.LogMel(…), ops.Mfcc(…) or None")
            if not self.mono:
                raise ValueError("mono is False; features are computed of one channel")
            self.features.check_rate(self.rate)

    @property
    def fields(self) -> Mapping[str, Field | None]:
        """See `Operation.fields`."""
        return {"": self._field, "_length": LENGTH}

    @property
    def draws(self) -> int:
        """Those of the span."""
        return self.span.draws

    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """See `Operation.decode`."""
        field = self._field
        lengths = allocate_rows(LENGTH, len(draws), allocate)
        rows: Any = [] if field is None else allocate_rows(field, len(draws), allocate)
        for number, (content, numbers) in enumerate(zip(contents, draws, strict=True)):
            samples = self._read_span(content, numbers, contents)
            if field is None:
                rows.append(self._compute_clip(samples))
                lengths[number] = len(rows[-1])
            else:
                lengths[number] = self._fill_row(samples, rows[number])
        return {"": rows, "_length": lengths}

    @property
    def _field(self) -> Field | None:
        """The dtype and shape of a row, or None where clips are a list."""
        if not (self.span.fixed and self.mono):
            return None
        samples = round(self.span.most * self.rate)
        if self.features is None:
            return Field("float32", (samples,), "T", padding=0.0)
        return Field("float32", (self.features.count_frames(samples), self.features.values), "TF", padding=0.0)

    def _read_span(self, content: Content, draws: NDArray[np.float64], contents: Contents) -> Samples:
        """Return the samples of the span, float32 (samples,) or (samples, channels), at least one."""
        with open_audio(content, self.max_values) as file:
            if file.doubt is not None:
                contents.warn(file.doubt)
            total = count_resampled(file.frames, file.rate, self.rate)
            if not total:
                raise ValueError(f"it has {file.frames} frames at {file.rate} Hz, no sample at {self.rate}")
            size = min(total, round(self.span.most * self.rate))
            start = int(self.span.find_share(draws.tolist()) * (total - size + 1))
            return read_resampled(file, start, start + size, self.rate, self.mono)

    def _compute_clip(self, samples: Samples) -> NDArray[np.float32]:
        if self.features is None:
            return samples
        clip = np.empty((self.features.count_frames(len(samples)), self.features.values), np.float32)
        self.features.compute(samples, self.rate, clip)
        return clip

    def _fill_row(self, samples: Samples, row: NDArray[np.float32]) -> int:
        """Write a clip into its row, and zeros after it; return its length."""
        if self.features is None:
            length = len(samples)
            row[:length] = samples
        else:
            length = self.features.count_frames(len(samples))
            self.features.compute(samples, self.rate, row[:length])
        row[length:] = 0
        return length
