"""Deal the URLs of a level to the partitions of the hosts, and their redirects from one partition to another. Pure.

Each partition has one task at a time, so each host is requested by one process at a time. As soon as a task has ended,
the next one of its partition can start, with what redirects of others led to meanwhile.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from pipeline.crawl.chains import Chain
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.partition import Partition, hash_host
from pipeline.crawl.setup import CrawlSetup
from pipeline.crawl.visit_partition import PartitionResult, PartitionTask
from pipeline.crawl.visit_url import Visit
from pipeline.crawl.wire.pace import PaceState
from pipeline.formats.urls import find_site

TASK_SECONDS = 30.0
"""After so long a task begins no more URLs. Redirects from other partitions wait for it, and progress shows only then;
what a task costs beside its URLs (a process enters it, connections are made anew, those under way are waited for) is
some seconds at most."""

MAX_CHAINS = 20_000
"""URLs of a task: bounds its memory and that of its result; what a process can fetch in that time."""

FileKey = tuple[str, bool]
"""The URL of a site's file at the site itself, and whether requests may be made for it."""


class Dealer:
    """The URLs of a level that are still to be visited."""

    def __init__(self, setup: CrawlSetup, partitions: int, paces: Mapping[str, PaceState]) -> None:
        self._setup = setup
        self._partitions = [Partition(index, partitions) for index in range(partitions)]
        self._queues: list[deque[Chain]] = [deque() for _ in self._partitions]
        self._idle = set(range(partitions))
        self._paces: list[Mapping[str, PaceState]] = [paces] * partitions
        self._files: dict[str, dict[FileKey, HttpResponse | None]] = {}  # by site
        self._waiting: dict[FileKey, list[Chain]] = {}

    def start_level(self, urls: Iterable[str]) -> None:
        """Take the URLs of a level; sites' files may have changed since the level before, and are asked for again."""
        self._files.clear()
        before: Counter[str] = Counter()
        places = []
        for url in urls:
            site = find_site(url)
            places.append((before[site], url))
            before[site] += 1
        places.sort(key=lambda place: place[0])  # a task has many hosts, so that few wait for the slowest
        for _, url in places:
            self._queue(Chain(url))

    def take_tasks(self) -> list[PartitionTask]:
        """Return a task for each partition that has URLs and no task."""
        tasks = [self._take_task(index) for index in sorted(self._idle) if self._queues[index]]
        self._idle -= {task.hosts.index for task in tasks}
        return tasks

    def note(self, result: PartitionResult) -> dict[str, Visit]:
        """Note the result of a task; return the visits that have come to their end, by the URL of the level."""
        index = result.hosts.index
        self._idle.add(index)
        self._paces[index] = result.paces
        self._queues[index].extendleft(reversed(result.left))
        for chain in result.elsewhere:
            self._queue(chain)
        for key, response in result.files.items():
            self._note_file(key, response)
        for missing in result.not_kept:
            self._note_file((missing.chain.start, missing.chain.asks), None)
        for waiting in result.waiting:
            self._wait_for_file(waiting.chain, waiting.file)
        return result.visits

    def _wait_for_file(self, chain: Chain, file: Chain) -> None:
        key = file.start, file.asks
        known = self._files.get(find_site(file.start), {})
        if key in known:
            self._queue(chain if known[key] else chain.begin_asking())
            return
        if key not in self._waiting:
            self._queue(file)
        self._waiting.setdefault(key, []).append(chain)

    def _note_file(self, key: FileKey, response: HttpResponse | None) -> None:
        self._files.setdefault(find_site(key[0]), {})[key] = response
        for chain in self._waiting.pop(key, ()):
            self._queue(chain if response else chain.begin_asking())

    def _queue(self, chain: Chain) -> None:
        self._queues[hash_host(chain.url) % len(self._queues)].append(chain)

    def _take_task(self, index: int) -> PartitionTask:
        queue = self._queues[index]
        chains = [queue.popleft() for _ in range(min(len(queue), MAX_CHAINS))]
        sites = {find_site(chain.url) for chain in chains}
        files = {key: file for site in sites for key, file in self._files.get(site, {}).items() if file}
        return PartitionTask(self._setup, self._partitions[index], chains, TASK_SECONDS, files, self._paces[index])
