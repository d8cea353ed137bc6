"""Import the trainers of others, so that processes forked from this one start at once. Imports take them seconds each.

A torchvision that does not fit the torch beside it is hidden from Transformers, which does without, and stood in for
where Lightning imports it.
"""

import sys

from benchmarks.support.torchvision_stand_in import stand_in

hidden = False
try:
    import torchvision  # type: ignore[import-not-found]  # noqa: F401
except Exception:  # see stand_in
    hidden = True
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # so that it is not found

import accelerate  # noqa: E402, F401
from transformers import Trainer  # noqa: E402, F401

if hidden:
    del sys.modules["torchvision"]
stand_in()

import lightning  # noqa: E402, F401
import torch.distributed.checkpoint  # noqa: E402
import torch.distributed.fsdp  # noqa: E402
import torch.distributed.tensor.parallel  # noqa: E402, F401
