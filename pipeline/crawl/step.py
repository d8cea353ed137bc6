"""The stage: reads the lists, walks, and writes the responses with a row for each URL."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.crawl.listed_hosts import ListedHost, resolve_hosts
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.url_lists import ListedUrl, read_lists
from pipeline.errors import PipelineError
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER
from pipeline.tables.drops import Drop, Outcome
from pipeline.tables.parquet import write_dropped, write_table

if TYPE_CHECKING:
    from pipeline.crawl.breadth_first import VisitedUrl
    from pipeline.crawl.journal import Body, Journal
    from pipeline.crawl.write_bodies import BodyTars


@dataclass(repr=False)
class CrawlResult:
    """What a walk brought home: `find_body` says where the bytes are that were kept for a final URL.

    Without a repr, which asyncio makes of what a task gives: it takes a second for 100,000 URLs.
    """

    tried: "list[VisitedUrl]"
    repeated: list[Drop]
    passed_over: list[Drop]
    requests: int
    find_body: "Callable[[str], Body | None]"
    bad_rows: list[Drop] = field(default_factory=list)


def crawl(params: CrawlParams, workspace: Workspace) -> Outcome:
    """Fetch what `params` names; writes `1_crawled/`. Unit: the URL, or the row of a list that gives none.

    Answers are kept in a journal in the cache, so that a second run with another reason than `crawl.refresh` makes no
    request for what is there and writes the same bytes.

    Raises:
        InputError: a list is missing, or cannot be used.
    """
    rows = list(read_lists(Path(params.lists_folder), params.lists))
    bad_rows = [row for row in rows if isinstance(row, Drop)]
    listed = [row for row in rows if isinstance(row, ListedUrl)]
    with ExitStack() as stack:
        hosts = resolve_hosts(params.hosts, stack)
        from pipeline.crawl.journal import Journal

        journal = stack.enter_context(Journal(workspace.cache / "answers"))
        try:
            haul = asyncio.run(_walk(params, listed, hosts, workspace, journal))
        except ExceptionGroup as group:
            raise _find_cause(group) from group
        haul.bad_rows = bad_rows
        return _write(haul, journal.folder, workspace)


def _find_cause(group: ExceptionGroup) -> Exception:
    """Return the pipeline's own error among those of tasks that failed together, or else `group` itself."""
    first = group.exceptions[0]
    if isinstance(first, ExceptionGroup):
        first = _find_cause(first)
    return first if isinstance(first, PipelineError) else group


async def _walk(
    params: CrawlParams,
    listed: Sequence[ListedUrl],
    hosts: Mapping[str, ListedHost],
    workspace: Workspace,
    journal: "Journal",
) -> CrawlResult:
    from pipeline.crawl.breadth_first import BreadthFirst, visit_level
    from pipeline.crawl.client import open_client
    from pipeline.crawl.visit_url import Visitor

    walk = BreadthFirst(params)
    async with open_client(params, hosts, journal) as client:
        visitor = Visitor(client, params.agent.split("/")[0].split()[0])
        level = walk.plan_first_level(params.start, listed)
        while level:
            await visit_level(level, visitor.visit, params.per_host, workspace.run)
            level = walk.plan_next_level(level)
    tried = [walk.tried[url] for url in sorted(walk.tried)]
    return CrawlResult(tried, walk.repeated, walk.passed_over, client.requests, client.find_body)


def _write(haul: CrawlResult, journal: Path, workspace: Workspace) -> Outcome:
    from pipeline.crawl.write_bodies import BodyTars

    folder, drops, bodies = workspace.work / CRAWLED_FOLDER, [*haul.bad_rows, *haul.repeated], BodyTars(journal)
    write_table(folder / "crawl.parquet", _build_rows(haul, bodies, drops), CRAWLED)
    for _ in show_progress(bodies.write(folder), len(bodies), "responses", workspace.run, lambda count: (count, {})):
        pass
    seen = len(haul.tried) + len(haul.bad_rows) + len(haul.repeated)
    outcome = Outcome(
        unit="url",
        seen=seen,
        kept=seen - len(drops),
        dropped=drops,
        parts=haul.passed_over,
        notes=[
            _describe_requests(haul.requests) if seen else "nothing to crawl: crawl.start and crawl.lists are empty"
        ],
    )
    write_dropped(folder / "dropped.parquet", "crawl", outcome.unit, outcome.dropped, outcome.parts)
    return outcome


def _describe_requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}; all other answers were kept from before"


def _build_rows(haul: CrawlResult, bodies: "BodyTars", drops: list[Drop]) -> Iterator[dict[str, Any]]:
    """The table's rows; bodies are planned on the way, each once, and rejected URLs go to `drops`."""
    for one in haul.tried:
        rejection = one.rejection or (one.visit.rejection if one.visit else None)
        row = _describe(one)
        if rejection:
            drops.append(rejection.drop(one.url))
            yield {**row, "reason": str(rejection.reason), "detail": rejection.detail}
            continue
        body = haul.find_body(row["final_url"])
        assert body is not None, row["final_url"]
        place = bodies.plan(one.url, body)
        yield {**row, "sha256": body.sha256, "tar": place.tar, "offset": place.offset, "size": place.size}


def _describe(one: "VisitedUrl") -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(CRAWLED)
    row |= {"url": one.url, "depth": one.depth, "detail": "", "page": one.embedder or one.page}
    if one.visit:
        row |= {"final_url": one.visit.final_url, "status": one.visit.status, "content_type": one.visit.content_type}
    if one.listed:
        said = one.listed
        row |= {"page": one.url, "caption": said.caption, "label": said.label, "split": said.split}
        row |= {"licence": said.licence, "attribution": said.attribution}
    return row
