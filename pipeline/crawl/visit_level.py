"""Visit the URLs of a level: in the stage's own process, or in several once that has more to do than it can."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from pipeline.crawl.chains import Chain
from pipeline.crawl.dealer import Dealer
from pipeline.crawl.journal import Journal
from pipeline.crawl.listed_hosts import start_hosts
from pipeline.crawl.params import ServedHost
from pipeline.crawl.partition import ALL_HOSTS, hash_host
from pipeline.crawl.setup import CrawlSetup
from pipeline.crawl.visit_partition import (
    PartitionResult,
    PartitionTask,
    crawl_partition,
    load_libraries,
    visit_partition,
)
from pipeline.crawl.visit_url import Visit
from pipeline.crawl.wire.pace import PaceState
from pipeline.incremental.library_versions import describe_environment
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.progress import show_progress
from pipeline.runtime.sandbox.worker_pool import warm_up_pool

MIN_URLS = 5_000
"""URLs of the first level that is visited in several processes: one visits them in some 3 s, as long as it takes to
start others."""

MAX_PARTITIONS = 256
"""As many as there are connections."""


class LevelVisitor:
    """Visits levels one after another.

    Attributes:
        requests: how many were made so far.
        rules_changed: see `Client.rules_changed`.
    """

    def __init__(self, setup: CrawlSetup, stack: ExitStack) -> None:
        self._setup = setup
        self._stack = stack
        self._journal: Journal | None = None
        self._executor: Executor | None = None
        self._dealer: Dealer | None = None
        self.requests = 0
        self.rules_changed = False
        self._paces: Mapping[str, PaceState] = {}

    def visit(self, urls: Sequence[str]) -> Iterator[tuple[str, Visit]]:
        """Yield each URL of a level with its visit, in any order."""
        if self._dealer is None and (hosts := _count_hosts(urls, self._setup)) > 1:
            self._open_processes(hosts)
        if self._executor is None or self._dealer is None:
            yield from self._visit_here(urls)
            return
        self._dealer.start_level(urls)
        tasks = self._dealer.take_tasks()
        finished = self._executor.run_tasks(crawl_partition, tasks)
        for _, result in show_progress(finished, len(urls), "urls", self._setup.run, _measure):
            self._count(result)
            yield from self._dealer.note(result).items()
            tasks += self._dealer.take_tasks()

    def _visit_here(self, urls: Sequence[str]) -> Iterator[tuple[str, Visit]]:
        if self._journal is None:
            self._journal = self._stack.enter_context(Journal(self._setup.answers, self._setup.clock))
        task = PartitionTask(self._setup, ALL_HOSTS, [Chain(url) for url in urls], paces=self._paces)
        result = visit_partition(task, self._journal)
        self._count(result)
        self._paces = result.paces
        yield from result.visits.items()

    def _count(self, result: PartitionResult) -> None:
        self.requests += result.requests
        self.rules_changed |= result.rules_changed

    def _open_processes(self, hosts: int) -> None:
        run = self._setup.run
        warm_up_pool(run, load_libraries)
        describe = partial(describe_environment, (crawl_partition.__module__,))
        self._executor = self._stack.enter_context(open_executor(run, hosts, describe=describe))
        partitions = min(self._executor.count_threads(), hosts, MAX_PARTITIONS)
        quiet = run.model_copy(update={"progress": False})
        setup = replace(self._setup, hosts=start_hosts(self._setup.hosts), run=quiet)
        self._dealer = Dealer(setup, partitions, self._paces)


def _measure(finished: tuple[int, PartitionResult]) -> tuple[int, Mapping[str, int]]:
    return len(finished[1].visits), {}


def _count_hosts(urls: Sequence[str], setup: CrawlSetup) -> int:
    """Return how many hosts the URLs have, if several processes may visit them; else 1."""
    run = setup.run
    has_cluster = run.scheduler is not None or run.client is not None
    # A server of this process is out of reach for other machines.
    served = any(isinstance(host, ServedHost) for host in setup.params.hosts.values())
    if len(urls) < MIN_URLS or (served if has_cluster else run.workers < 2):
        return 1
    return len({hash_host(url) for url in urls})


@contextmanager
def open_level_visitor(setup: CrawlSetup) -> Iterator[LevelVisitor]:
    """Yield a `LevelVisitor`; its processes and files are closed at the end."""
    with ExitStack() as stack:
        yield LevelVisitor(setup, stack)
