"""Visit URLs of one partition of the hosts, in the stage's own process or as a task of another one."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.crawl.chains import Chain, FileNotKept, Waiting
from pipeline.crawl.client import Client, open_client
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.journal import Journal
from pipeline.crawl.partition import Partition
from pipeline.crawl.setup import CrawlSetup
from pipeline.crawl.visit_kept import KeptFirst
from pipeline.crawl.visit_url import Visit, Visitor
from pipeline.crawl.wire.pace import PaceState
from pipeline.crawl.wire.requester import MAX_CONNECTIONS, Allowance, Postponed
from pipeline.errors import PipelineError
from pipeline.formats.urls import find_site
from pipeline.runtime.progress import show_progress


@dataclass(frozen=True)
class PartitionTask:
    """URLs of a partition's hosts to visit, until all are done or `seconds` have passed.

    Attributes:
        files: responses for files of their sites that lie on hosts of other partitions, by the URL at the site, and by
            whether requests may be made for them.
        paces: see `Allowance.paces`.
    """

    setup: CrawlSetup
    hosts: Partition
    chains: Sequence[Chain]
    seconds: float | None = None
    files: Mapping[tuple[str, bool], HttpResponse] = field(default_factory=dict)
    paces: Mapping[str, PaceState] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the task's name in messages."""
        return f"hosts {self.hosts.index + 1} of {self.hosts.count}"


@dataclass(repr=False)
class PartitionResult:
    """The result of a task. Without a repr, which asyncio builds of results: it takes a second for 100,000 URLs.

    Attributes:
        hosts: the task's.
        visits: by the URL that was asked for.
        files: responses for sites' files, by the URL that was asked for, and by whether requests may be made.
        not_kept: those of which there is none without requests.
        waiting: chains that need a site's file from another partition.
        elsewhere: chains that go on in another partition.
        left: chains that there was no time for.
        paces: see `Allowance.paces`.
        requests: how many were made.
        rules_changed: see `Client.rules_changed`.
    """

    hosts: Partition
    visits: dict[str, Visit] = field(default_factory=dict)
    files: dict[tuple[str, bool], HttpResponse] = field(default_factory=dict)
    not_kept: list[FileNotKept] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    elsewhere: list[Chain] = field(default_factory=list)
    left: list[Chain] = field(default_factory=list)
    paces: Mapping[str, PaceState] = field(default_factory=dict)
    requests: int = 0
    rules_changed: bool = False


def load_libraries() -> None:
    """Load what visits need beside this module: a parser of pages."""
    import selectolax.lexbor  # noqa: F401


_journals: dict[tuple[Path, Partition], Journal] = {}
"""The journal that this process has open, one at most: it would take long to find all responses for each task."""


def crawl_partition(task: PartitionTask) -> PartitionResult:
    """Visit the URLs of a task in a process that has others after it, and that ends with the crawl."""
    key = task.setup.answers, task.hosts
    if key in _journals:
        _journals[key].read_new()
    else:
        for journal in _journals.values():
            journal.__exit__(None, None, None)
        _journals.clear()
        _journals[key] = Journal(task.setup.answers, task.setup.clock, task.hosts)
    result = visit_partition(task, _journals[key])
    _journals[key].sync()
    return result


def visit_partition(task: PartitionTask, journal: Journal) -> PartitionResult:
    """Visit the URLs of a task.

    Raises:
        PipelineError: the server of a host cannot start.
        ExceptionGroup: anything else was raised.
    """
    try:
        return asyncio.run(_visit(task, journal))
    except ExceptionGroup as group:
        raise _find_cause(group) from group


def _find_cause(group: ExceptionGroup) -> Exception:
    """Return the pipeline's own error among those of tasks that failed together, or else `group` itself."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        first = _find_cause(first)
    return first if isinstance(first, PipelineError) else group


async def _visit(task: PartitionTask, journal: Journal) -> PartitionResult:
    setup, result = task.setup, PartitionResult(task.hosts)
    allowance = Allowance(max(1, MAX_CONNECTIONS // task.hosts.count), task.seconds, task.paces)
    async with open_client(setup, journal, allowance) as client:
        visitor = KeptFirst(client, lambda client: Visitor(client, setup.params, task.hosts, task.files))
        await _visit_all(task, visitor, client, result)
        result.paces, result.requests = client.save_paces(), client.requests
        result.rules_changed = client.rules_changed
    return result


async def _visit_all(task: PartitionTask, visitor: KeptFirst, client: Client, result: PartitionResult) -> None:
    """Visit every URL of the task, `per_host` at a time of each site."""
    queues: dict[str, deque[Chain]] = {}
    for chain in task.chains:
        queues.setdefault(find_site(chain.url), deque()).append(chain)
    done: asyncio.Queue[None] = asyncio.Queue()

    async def work(queue: deque[Chain]) -> None:
        while queue:
            chain = queue.popleft()
            if client.has_time():
                await _visit_one(chain, visitor, result)
            else:
                result.left.append(chain)
            done.put_nowait(None)

    async with asyncio.TaskGroup() as group:
        for queue in queues.values():
            for _ in range(min(task.setup.params.find_per_host(local=True), len(queue))):
                group.create_task(work(queue))
        for _ in show_progress(range(len(task.chains)), len(task.chains), "urls", task.setup.run):
            await done.get()


async def _visit_one(chain: Chain, visitor: KeptFirst, result: PartitionResult) -> None:
    try:
        outcome = await (visitor.read_site_file(chain) if chain.site_file else visitor.visit(chain))
    except Postponed:
        result.left.append(chain)
        return
    match outcome:
        case Visit():
            result.visits[chain.start] = outcome
        case HttpResponse():
            result.files[chain.start, chain.asks] = outcome
        case FileNotKept():
            result.not_kept.append(outcome)
        case Waiting():
            result.waiting.append(outcome)
        case Chain():
            result.elsewhere.append(outcome)
