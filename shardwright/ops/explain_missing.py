"""Say how to install a package that is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def explain_missing(purpose: str) -> Iterator[None]:
    """Import packages that decoding needs within this block.

    Args:
        purpose: what they do, such as "video is decoded".

    Raises:
        ModuleNotFoundError: one is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name
        raise ModuleNotFoundError(
            f"{purpose} by {name}, which is not installed: pip install {name}, or pip install shardwright[media]",
            name=name,
        ) from error
