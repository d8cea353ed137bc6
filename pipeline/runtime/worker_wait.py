"""Wait for the workers of a cluster that has none: they may stand in a queue, still be starting, or be preempted."""

import time

from pipeline.errors import PipelineError
from pipeline.runtime.progress import say_line


class WorkerWait:
    """Says once on stderr that a cluster has no workers, and ends the run if none comes within the limit.

    Args:
        cluster: its name, for messages.
        limit: `run.wait_for_workers`, in seconds.
    """

    def __init__(self, cluster: str, limit: float) -> None:
        self.cluster = cluster
        self._limit = limit
        self._began: float | None = None

    def note_threads(self, threads: int) -> None:
        """Note how many threads the workers have now; with none of them, the time runs.

        Raises:
            PipelineError: there were none for longer than the limit.
        """
        if threads:
            if self._began is not None:
                say_line(f"the cluster at {self.cluster} has workers: {threads} threads")
            self._began = None
            return
        if not self._limit:
            raise PipelineError(
                f"the cluster at {self.cluster} has no workers, and run.wait_for_workers is 0: start some, or set it "
                "to the seconds to wait for them; finished items are in the cache"
            )
        now = time.monotonic()
        if self._began is None:
            self._began = now
            say_line(
                f"the cluster at {self.cluster} has 0 workers: waiting for one, {self._limit:g} s at most "
                "(run.wait_for_workers); start some, or see whether those that you asked for are queued or failed"
            )
        elif now - self._began > self._limit:
            raise PipelineError(
                f"the cluster at {self.cluster} has had no workers for {self._limit:g} s (run.wait_for_workers): start "
                "some, or set it higher if they are only queued, then run this again; finished items are in the cache"
            )
