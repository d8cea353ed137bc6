"""Freed memory is returned to the system, also from between objects that stay."""

import subprocess
import sys

import pytest

from tests.support.running import ROOT

pytestmark = pytest.mark.slow

FREE = """
import os
from pathlib import Path
import numpy as np
from pipeline.runtime.run_stage import ARRAY_BYTES, use_own_maps_for_arrays

def measure():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

use_own_maps_for_arrays()
np.ones(3 * ARRAY_BYTES, np.uint64)  # glibc of itself keeps what is smaller than the largest that was freed
before = measure()
pairs = [(np.ones(ARRAY_BYTES, np.uint8), bytes(2000)) for _ in range(40)]
between = [small for _, small in pairs]
del pairs
print((measure() - before) / ARRAY_BYTES)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and other systems have other allocators")
def test_freed_arrays_leave_nothing_behind() -> None:
    said = subprocess.run([sys.executable, "-c", FREE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(said.stdout) < 1, "of 40 arrays"
