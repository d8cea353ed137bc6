"""Define transforms that fail at one sample. Workers import this module, so it imports nothing heavy."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.loader.sets import Sample


class OddError(Exception):
    """An error that can be pickled, but not unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


class Unreadable:
    """A value that can be pickled, but not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


@dataclass(frozen=True)
class Act:
    """A transform that adds the id of its process, and does one thing at the sample with this key."""

    what: str = ""
    key: str = ""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        result = {"n": sample["n"], "pid": os.getpid()}
        if self.what == "doze":
            time.sleep(0.05)
        if self.what == "nap":
            time.sleep(0.15)
        if sample["key"] == self.key:
            match self.what:
                case "hang":
                    time.sleep(3600)
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exit":
                    os._exit(3)
                case "interrupt":
                    raise TimeoutError("raised by the data")
                case "odd":
                    raise OddError(1, 2)
                case "unreadable":
                    result["value"] = [Unreadable()]
        if self.what == "unreadable":
            result.setdefault("value", [])
        return result


def describe_process(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return what the process has loaded, and the threads of its libraries."""
    import cv2

    return {
        "torch_was_loaded": "torch" in sys.modules,
        "opencv_threads": cv2.getNumThreads(),
        "threads": [os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "OPENBLAS", "MKL")],
        "pid": os.getpid(),
        "parent": os.getppid(),
        "image": sample["image"],
    }


def make_kinds(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return all kinds of numbers, also those that NumPy or PyTorch lack."""
    import torch

    n = int(sample["n"])
    return {
        "half": torch.full((3,), n, dtype=torch.bfloat16),
        "complex": torch.full((2,), complex(n, 1)),
        "array": np.full(2, n, np.complex64),
        "unsigned": np.full(2, n, np.uint16),
        "long": np.full(2, n, np.longdouble),
        "ragged": [torch.full((n % 3,), n, dtype=torch.bfloat16)],
    }
