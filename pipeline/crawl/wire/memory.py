"""Bound the memory of all responses together: what has no room waits, and one response can always grow."""

import asyncio
from types import TracebackType
from typing import Self

FREE_BYTES = 256 << 10
"""Of each response that are not counted: most responses never ask."""

SHARED_BYTES = 96 << 20
"""For all responses together, besides one of the largest size. Chosen so that 64 responses of 32 MiB at a time take
less than 400 MB with their copies."""

STEP_BYTES = 1 << 20
"""Responses ask for as much at a time."""


class MemoryBudget:
    """Hands out bytes to responses: `SHARED_BYTES` to all, and to the one that has waited longest as many as it needs.

    So no two responses can wait for each other, and at most `SHARED_BYTES` and one largest response are held. Spilling
    to disk would hold more, but an opt-out may stand at the end of a body, and no byte of it may be stored until then.
    """

    def __init__(self) -> None:
        self._leases: list[Lease] = []
        """Those that hold bytes, the first one first."""
        self._changed = asyncio.Event()

    def fits(self, lease: "Lease", more: int) -> bool:
        """Return whether a lease can be given `more` bytes now."""
        return self._leases[0] is lease or sum(one.held for one in self._leases) + more <= SHARED_BYTES

    def add(self, lease: "Lease") -> None:
        """Let a lease take part."""
        self._leases.append(lease)

    def remove(self, lease: "Lease") -> None:
        """Give a lease's bytes to those that wait."""
        self._leases.remove(lease)
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait until bytes are given back."""
        await self._changed.wait()


class Lease:
    """The bytes of one response, as a context manager: they are given back at the end of its block.

    Attributes:
        held: Bytes that the response was given beyond `FREE_BYTES`.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self.held = 0
        self._budget = budget
        self._counted = False

    def covers(self, size: int) -> bool:
        """Return whether the response may have `size` bytes, after asking for them where that needs no waiting."""
        more = size - FREE_BYTES - self.held
        if more <= 0:
            return True
        if not self._counted:
            self._counted = True
            self._budget.add(self)
        more = max(more, STEP_BYTES)
        if self._budget.fits(self, more):
            self.held += more
            return True
        return False

    async def cover(self, size: int) -> None:
        """Wait until the response may have `size` bytes."""
        while not self.covers(size):
            await self._budget.wait()

    def give_back(self) -> None:
        """Give all bytes back: the body is stored, or its response was no good."""
        if self._counted:
            self.held, self._counted = 0, False
            self._budget.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
