"""Convolve with strides that are no longer than the input.

Where an input is narrower than the stride, oneDNN's gradient of the weights in bfloat16 has memory in it that nobody
wrote (PyTorch 2.13 on CPUs with AVX-512): another one each time, at times NaN. Such an input gives one position, at
which any stride does the same.
"""

from torch import Tensor, nn
from torch.nn import functional


class Conv1d(nn.Conv1d):
    """As in PyTorch, for an odd kernel that is padded by half of it."""

    def forward(self, values: Tensor) -> Tensor:
        """Convolve (batch, channels, steps)."""
        return functional.conv1d(values, self.weight, self.bias, _fit(self.stride, values), self.padding)


class Conv2d(nn.Conv2d):
    """As in PyTorch, for an odd kernel that is padded by half of it."""

    def forward(self, values: Tensor) -> Tensor:
        """Convolve (batch, channels, height, width)."""
        return functional.conv2d(values, self.weight, self.bias, _fit(self.stride, values), self.padding)


def _fit(strides: tuple[int, ...], values: Tensor) -> tuple[int, ...]:
    return tuple(1 if side < stride else stride for side, stride in zip(values.shape[2:], strides, strict=True))
