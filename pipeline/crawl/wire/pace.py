"""Limit the requests to one site: their number at a time, and the seconds between two."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

MARGIN = 0.05
"""Seconds on top of a delay, so that a request which the network holds up is not met by the next one."""

MAX_PAUSE = 60.0
"""Seconds. A site that asks for a longer pause is not requested again before it is over."""


class SitePaused(Exception):  # noqa: N818 - a verdict, turned into a dropped row
    """The site asked by `status` to be left alone for longer than `MAX_PAUSE`; `seconds` are left of that."""

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__()
        self.status = status
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class PaceState:
    """What has to be known of a site for the next request to it; moments are in seconds since the epoch."""

    delay: float
    last_sent: float
    paused_until: float
    paused_by: int


class Pace:
    """The pace of the requests to one site: for pages, robots.txt, redirects and retries alike.

    Attributes:
        delay: Seconds between two requests. May be raised at any time, when robots.txt asks for more.
    """

    def __init__(self, at_a_time: int, delay: float) -> None:
        self.delay = self._usual_delay = delay
        self._slots = asyncio.Semaphore(at_a_time)
        self._turn = asyncio.Lock()
        self._last_sent = self._paused_until = float("-inf")
        self._paused_by = 0

    def pause(self, status: int, seconds: float) -> None:
        """Send nothing for that long from now on: the site asked for it with a response of that status."""
        if _now() + seconds > self._paused_until:
            self._paused_by, self._paused_until = status, _now() + seconds

    def save(self) -> PaceState | None:
        """Return what another process has to know before it requests the site; None if it may do so at once."""
        now, offset = _now(), time.time() - _now()
        if self.delay == self._usual_delay and max(self._last_sent + self.delay + MARGIN, self._paused_until) <= now:
            return None
        return PaceState(self.delay, self._last_sent + offset, self._paused_until + offset, self._paused_by)

    def restore(self, state: PaceState) -> None:
        """Go on from what another process has saved."""
        offset = time.time() - _now()
        self.delay = max(self.delay, state.delay)
        self._last_sent, self._paused_until = state.last_sent - offset, state.paused_until - offset
        self._paused_by = state.paused_by

    @asynccontextmanager
    async def take_turn(self) -> AsyncIterator[Callable[[], None]]:
        """Wait for a slot and for the time of the next request, and hold the slot in the block.

        The block calls what it is given as soon as its request is sent. Where there is a delay, the next request waits
        for that call: a connection that is slow to open cannot bring two requests together.

        Raises:
            SitePaused: the site asked for a pause that is too long to wait for.
        """
        async with self._slots:
            in_order = self._find_wait() > 0 or self.delay > 0
            if in_order:
                await self._turn.acquire()

            def end_turn() -> None:
                nonlocal in_order
                self._last_sent = _now()
                if in_order:
                    in_order = False
                    self._turn.release()

            try:
                while (wait := self._find_wait()) > 0:
                    await asyncio.sleep(wait)
            except BaseException:  # one who stops waiting takes no turn
                if in_order:
                    self._turn.release()
                raise
            try:
                yield end_turn
            finally:
                # Counted from the response too, since it is not known when the request arrived. If nothing was sent, a
                # connection may have been tried, which counts as a request.
                end_turn()

    def _find_wait(self) -> float:
        """Return the seconds until the next request may be sent; the delay is that of this moment."""
        now = _now()
        if self._paused_until - now > MAX_PAUSE:
            raise SitePaused(self._paused_by, self._paused_until - now)
        ready = self._last_sent + self.delay + MARGIN if self.delay else now
        return max(ready, self._paused_until) - now


def _now() -> float:
    return asyncio.get_running_loop().time()
