"""Turns at one site: so many requests at a time, and so many seconds between their starts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Pace:
    """`delay` may be raised while requests are waiting, when robots.txt asks for more."""

    def __init__(self, at_a_time: int, delay: float) -> None:
        self.delay = delay
        self._slots = asyncio.Semaphore(at_a_time)
        self._next_start = 0.0

    @asynccontextmanager
    async def take_turn(self) -> AsyncIterator[None]:
        """Wait for a slot and for the time to start, and hold the slot."""
        async with self._slots:
            now = asyncio.get_running_loop().time()
            start = max(now, self._next_start)
            self._next_start = start + self.delay
            if start > now:
                await asyncio.sleep(start - now)
            yield
