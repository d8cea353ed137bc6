"""Render images and recordings in several processes, as many as pay: the same responses in any number of them."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.plan import Site
    from demo.site import Response

    Render = Callable[[Site, str, int], Response]

THINGS_A_PROCESS = 300
"""Things of a site for which it has one more process: they take it some ten seconds, and its start one."""


class Renderers:
    """Renders responses of one site, in this process if there are no others.

    The processes are spawned, not forked, as threads of this one may hold locks. Each ends when its pipe does, also if
    this process is killed.
    """

    def __init__(self, site: "Site", processes: int | None = None) -> None:
        """Start the processes.

        Args:
            site: What to render.
            processes: Their number; null: one for `THINGS_A_PROCESS` things, at most one a core.
        """
        from demo.site import render  # loads OpenCV, which a crawl with all its answers in the cache does without

        if processes is None:
            processes = min(len(site.things) // THINGS_A_PROCESS, os.cpu_count() or 1)
        context = multiprocessing.get_context("spawn")
        self._render: Render = render
        self._site = site
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._connections: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for _ in range(processes):
            here, there = context.Pipe()
            process = context.Process(target=render_requests, args=(site, there), daemon=True)
            process.start()
            there.close()
            self.processes.append(process)
            self._connections.append(here)
        for here in self._connections:
            here.recv()  # it is ready: beside its start, the first requests might take longer than a crawl waits
            self._idle.put(here)

    def render(self, path: str, attempt: int) -> "Response":
        """Return the response to a path; pages, which take a millisecond, are rendered here."""
        if not self._connections or path not in self._site.things_by_path or path.endswith(".html"):
            return self._render(self._site, path, attempt)
        connection = self._idle.get()
        try:
            connection.send((path, attempt))
            response: Response = connection.recv()
        finally:
            self._idle.put(connection)
        return response

    def close(self) -> None:
        """End the processes; no response may be under way."""
        for connection in self._connections:
            connection.close()
        for process in self.processes:
            process.join()


def render_requests(site: "Site", requests: Connection) -> None:
    """Send None once it is ready, then the response to each path and attempt that comes through the pipe, until that is
    closed."""
    from demo.site import render

    # Ctrl-C goes to all processes; the one at the pipe's other end decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, ConnectionError):
        requests.send(None)
        while True:
            path, attempt = requests.recv()
            requests.send(render(site, path, attempt))
