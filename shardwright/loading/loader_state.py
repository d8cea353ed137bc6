"""Check a saved state of a loader before it is used."""

from collections.abc import Mapping
from typing import Any

from shardwright.errors import StateError

STATE_VERSION = 2


def read_position(state: Mapping[str, Any], identity: Mapping[str, Any], most: int) -> tuple[int, int]:
    """Return the epoch and the delivered batches of a state.

    Args:
        state: what `Loader.state_dict` returned.
        identity: what it must have in common with the loader, by name; `steps_multiple` is 1 where a state lacks it.
        most: batches that an epoch may have.

    Raises:
        StateError: it is no state of this release, or another loader's; the message shows both values.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"the state is {state!r:.200}; it must be a dict that state_dict() returned")
    for name, expected in {"version": STATE_VERSION, "steps_multiple": 1, **identity}.items():
        found = state.get(name, 1 if name == "steps_multiple" else None)
        if type(found) is not type(expected) or found != expected:
            raise StateError(f"the state was taken with {name} {found!r:.200}, the loader has {expected!r}")
    epoch, position = state.get("epoch"), state.get("position")
    if type(epoch) is not int or epoch < 0:
        raise StateError(f"epoch of the state is {epoch!r:.200}; it must be an int of at least 0")
    if type(position) is not int or not 0 <= position <= most:
        raise StateError(f"position of the state is {position!r:.200}; it must be an int from 0 to {most} batches")
    return epoch, position
