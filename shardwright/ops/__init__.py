"""Declare how the files of fields are decoded: `data.decode(image=ops.Image(ops.CenterCrop(224)))`.

Names are imported when they are first used (PEP 562), so that using one operation does not import what others need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardwright.ops.crops import CenterCrop, RandomResizedCrop, Resize
    from shardwright.ops.image import Image

_HOMES = {
    "crops": ("CenterCrop", "RandomResizedCrop", "Resize"),
    "image": ("Image",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["CenterCrop", "Image", "RandomResizedCrop", "Resize"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
