"""A stand-in for torchvision where the one that is installed does not fit the torch beside it.

MosaicML Streaming and Lightning import torchvision for datasets of images, models and metrics, of which the
benchmarks and tests use none; and there is no torchvision for a torch without CUDA. Every process that imports one of
them calls `stand_in` first.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


def stand_in() -> None:
    """Put the stand-in in place, unless torchvision works: importing a name from it works, using it does not."""
    try:
        import torchvision  # type: ignore[import-not-found]  # noqa: F401
    except Exception:  # an extension beside the wrong release of torch fails with anything
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in MODULES:
            module = ModuleType(name)
            module.__spec__ = ModuleSpec(name, None, is_package=True)
            module.__path__ = []
            vars(module)["__getattr__"] = _make_name
            sys.modules[name] = module


def _make_name(name: str) -> type:
    """An empty class for any name that is imported."""
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})
