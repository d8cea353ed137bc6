"""Convolutions of inputs that are narrower than their strides have gradients that depend on nothing else."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from pipeline.models.encoders.strided import Conv1d, Conv2d
from tests.support.running import ROOT

FILLED = """
    import torch
    from pipeline.models.encoders.strided import Conv1d, Conv2d

    for convolution, sides in ((Conv1d, (1,)), (Conv2d, (1, 1)), (Conv2d, (1, 4))):
        for kernel in (3, 7):
            torch.manual_seed(0)
            layer, values = convolution(8, 8, kernel, 2, kernel // 2), torch.randn(4, 8, *sides)
            with torch.autocast("cpu", torch.bfloat16):
                output = layer(values)
            output.float().sum().backward()
            assert layer.weight.grad.abs().max() < 1e3
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc fills memory for tests")
def test_gradients_in_bfloat16_have_no_memory_in_them_that_nobody_wrote() -> None:
    filled = {**os.environ, "MALLOC_PERTURB_": "128", "PYTHONPATH": str(ROOT)}  # 3.4e38 in each float
    subprocess.run([sys.executable, "-c", textwrap.dedent(FILLED)], check=True, env=filled, timeout=60)


@pytest.mark.parametrize("sides", [(1, 1), (1, 5), (6, 1), (2, 3)])
def test_the_same_as_in_pytorch(sides: tuple[int, ...]) -> None:
    ours, theirs = Conv2d(2, 3, 3, 2, 1), nn.Conv2d(2, 3, 3, 2, 1)
    theirs.load_state_dict(ours.state_dict())
    values = torch.randn(4, 2, *sides)
    torch.testing.assert_close(ours(values), theirs(values))
    line, lines = Conv1d(2, 3, 3, 2, 1), nn.Conv1d(2, 3, 3, 2, 1)
    lines.load_state_dict(line.state_dict())
    torch.testing.assert_close(line(values[..., 0]), lines(values[..., 0]))
