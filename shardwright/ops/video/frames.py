"""Decode video: some frames of a span, with one crop, straight into the row of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate, allocate_rows
from shardwright.datasets.read_context import Content
from shardwright.format.field import Field
from shardwright.ops.crops import Crop, Plan
from shardwright.ops.operation import Contents, Operation
from shardwright.ops.resize import Pixels, resize
from shardwright.ops.spans import RandomSpan, Span, check_seconds
from shardwright.ops.video.video_file import Frame, open_video
from shardwright.webdataset.limits import DEFAULT_LIMITS

MAX_COUNT = 4_096


@dataclass(frozen=True)
class Frames(Operation):
    """Some frames of a video, uint8 (count, height, width, 3), RGB, upright.

    MP4, WebM and Matroska files are decoded by FFmpeg, from the key frame before the span to its last frame. The span
    is cut into `count` equal parts, and of each the frame is taken that is shown in its middle, by the times in the
    file: the frames that decoding everything would give. All frames of a clip have one crop and one flip.

    A batch has, of a field `video`:

    - `video`: uint8 (batch, count, height, width, 3).
    - `video_valid`: bool (batch, count), False beyond the end of a clip that is shorter than the span, whose frames
      there are zeros.

    Args:
        count: frames.
        span: `RandomSpan`, `CenterSpan`, `FirstSpan` or `Whole`, in seconds; a number is a `RandomSpan`.
        crop: which part is taken, in which size: `RandomResizedCrop`, `CenterCrop` or `Resize`.
        flip: the share of samples that are mirrored from left to right.
        antialias: filter what is shrunk, see `Image`.
        max_pixels: of a frame; more are refused before they are decoded.
        max_seconds: of the file; longer ones are refused.
        stream: the name of the random numbers; None is the field's own name.

    Raises:
        TypeError, ValueError: an argument is not allowed.
    """

    count: int
    span: Span | float
    crop: Crop
    flip: float = 0.0
    antialias: bool = True
    max_pixels: int = DEFAULT_LIMITS.pixels
    max_seconds: float = 86_400.0
    stream: str | None = None

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count is {self.count!r:.80}; it must be a whole number from 1 to {MAX_COUNT}")
        if isinstance(self.span, int | float):
            object.__setattr__(self, "span", RandomSpan(self.span))
        if not isinstance(self.span, Span):
            raise TypeError(f"span is {self.span!r:.80}; it must be a span, such as ops.RandomSpan(2.0)")
        if not isinstance(self.crop, Crop):
            raise TypeError(f"crop is {self.crop!r:.80}; it must be a crop, such as ops.CenterCrop(224)")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip!r}; it must be a share from 0 to 1")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels!r}; it must be at least 1")
        check_seconds("max_seconds", self.max_seconds)

    @property
    def fields(self) -> Mapping[str, Field]:
        """See `Operation.fields`."""
        return {"": Field("uint8", (self.count, *self.crop.shape, 3), "THWC"), "_valid": Field("bool", (self.count,))}

    @property
    def draws(self) -> int:
        """Those of the crop, then of the span, and one for the flip."""
        return self.crop.draws + self._span.draws + (self.flip > 0)

    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """See `Operation.decode`."""
        rows, valid = (allocate_rows(field, len(draws), allocate) for field in self.fields.values())
        for row, mask, content, numbers in zip(rows, valid, contents, draws, strict=True):
            doubted = self._decode_clip(content, numbers.tolist(), row, mask)
            if doubted:
                contents.warn(f"{doubted} of its frames were decoded from damaged data")
        return {"": rows, "_valid": valid}

    @property
    def _span(self) -> Span:
        assert isinstance(self.span, Span)
        return self.span

    def _decode_clip(self, content: Content, draws: list[float], row: Pixels, valid: NDArray[np.bool_]) -> int:
        """Decode one file into its row; return the number of frames that the decoder doubts."""
        crop_draws, span_draws = draws[: self.crop.draws], draws[self.crop.draws :]
        flipped = self.flip > draws[-1] if self.flip else False
        doubted, plan, size = 0, None, None
        with open_video(content, self.max_pixels, self.max_seconds) as video:
            times = self._plan_times(video.seconds, span_draws)
            valid[:] = times < video.seconds
            row[~valid] = 0
            last: Frame | None = None
            for number, frame in enumerate(video.read_frames(times[valid].tolist())):
                if frame is last:
                    row[number] = row[number - 1]
                    continue
                height, width = frame.pixels.shape[:2]
                if plan is None:
                    size, plan = (height, width), self.crop.plan(height, width, crop_draws)
                if (height, width) != size:
                    raise ValueError(f"its frames change from {size} to {(height, width)} pixels")
                taken = self._take(frame.pixels, plan)
                row[number] = taken[:, ::-1] if flipped else taken
                doubted += frame.is_doubted
                last = frame
        return doubted

    def _plan_times(self, seconds: float, draws: list[float]) -> NDArray[np.float64]:
        """Return the middles of equal parts of the span, seconds from the first frame, float64 (count,)."""
        length = self._span.most if self._span.fixed else min(seconds, self._span.most)
        start = self._span.find_share(draws) * max(0.0, seconds - length)
        middles: NDArray[np.float64] = (np.arange(self.count, dtype=np.float64) + 0.5) * (length / self.count)
        return middles + start

    def _take(self, pixels: Pixels, plan: Plan) -> Pixels:
        top, left, height, width = plan.box
        resized = resize(pixels[top : top + height, left : left + width], plan.resized, self.antialias)
        rows, columns = self.crop.shape
        return resized[plan.top : plan.top + rows, plan.left : plan.left + columns]
