"""Import a package when it is first needed."""

from importlib import import_module
from typing import Any


def load_package(name: str, purpose: str) -> Any:
    """Import a package that decoding needs.

    Args:
        name: of the package, which `pip install` knows too.
        purpose: what it does, such as "video is decoded".

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{purpose} by {name}, which is not installed: pip install {name}, or pip install shardwright[media]",
            name=name,
        ) from error
