"""Run the tasks of a job on a worker of a cluster, each in a process of its own, and report their replies."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.runtime.check_cluster import Environment
from pipeline.runtime.sandbox.find_bad_items import Call, WorkerReply, run_call
from pipeline.runtime.sandbox.worker import SandboxLimits
from pipeline.runtime.sandbox.worker_pool import open_pool


class WorkerLost(Exception):  # noqa: N818 - the name says what happened
    """A job has no report, since its worker is gone."""


@dataclass(frozen=True)
class WorkerSetup:
    """How workers run a run's tasks: in processes within limits; other machines first compare their environment."""

    run: str
    limits: SandboxLimits
    environment: Environment | None = None


@dataclass(frozen=True)
class JobReport:
    """The replies to a job's calls, in their order, up to the first that failed; and the seconds that they took."""

    replies: list[WorkerReply]
    seconds: float


@dataclass(frozen=True)
class Job:
    """Calls that run one after the other, and how."""

    setup: WorkerSetup
    calls: list[Call]

    def run(self, is_needed: Callable[[], bool]) -> JobReport:
        """Run the calls until one fails. Runs on a worker.

        Args:
            is_needed: tells whether somebody still waits for the report.

        Raises:
            PipelineError: this worker joined late, and differs from the driver.
        """
        if self.setup.environment:
            self.setup.environment.check_late_worker()
        start, replies = time.monotonic(), list[WorkerReply]()
        for call in self.calls:
            replies.append(run_call(open_pool(self.setup.run, self.setup.limits), call, is_needed))
            if replies[-1].failed:
                break
        return JobReport(replies, time.monotonic() - start)
