"""A stand-in for torchvision where the one that is installed does not fit the torch beside it.

MosaicML Streaming imports torchvision for its datasets of pictures, of which the benchmark uses none; and there is no
torchvision for a torch without CUDA. Every process that imports streaming calls `stand_in` first.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

NAMES: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "torchvision.datasets": {"VisionDataset": object},
    "torchvision.transforms": {},
    "torchvision.transforms.functional": {"to_tensor": None},
}
"""The modules that `import streaming` asks for, and what it takes from them."""


def stand_in() -> None:
    """Put the stand-in in place, unless torchvision works."""
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except Exception:  # an extension beside the wrong release of torch fails with anything
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name, values in NAMES.items():
            module = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None, is_package=True)
            vars(module).update(values)
            sys.modules[name] = module
