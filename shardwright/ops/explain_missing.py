"""Say how to install a package that is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explain_missing(purpose: str, install: str | None = None) -> Iterator[None]:
    """Import packages that decoding needs within this block.

    Args:
        purpose: what they do, such as "video is decoded".
        install: how they are installed; None is by their own name, or with all of `shardwright[media]`.

    Raises:
        ModuleNotFoundError: one is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name
        how = install or f"pip install {name}, or pip install shardwright[media]"
        raise ModuleNotFoundError(f"{purpose} by {name}, which is not installed: {how}", name=name) from error
