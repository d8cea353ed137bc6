"""The stage: reads the lists, walks, and writes the responses with a row for each URL."""

import ast
import asyncio
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.params import DemoParams
from pipeline.cache.module_sources import ROOT, find_source_files
from pipeline.crawl.addresses import Endpoint, ListedHost, parse_endpoint
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.url_lists import ListedUrl, read_lists
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER
from pipeline.tables.drops import Drop, Outcome
from pipeline.tables.parquet import write_dropped, write_table

if TYPE_CHECKING:
    from pipeline.crawl.breadth_first import VisitedUrl
    from pipeline.crawl.journal import Body, Journal
    from pipeline.crawl.write_bodies import BodyTars

DEMO_HOST = "demo.test"
"""Where the demo is found; reserved for tests (RFC 2606), so that no real host is ever asked for it."""


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


def crawl(params: CrawlParams, demo: DemoParams, workspace: Workspace) -> Outcome:
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
        hosts = {name: ListedHost(_give(parse_endpoint(place))) for name, place in params.hosts.items()}
        if any(DEMO_HOST in text.lower() for text in (*params.start, *(row.url for row in listed))):
            hosts.setdefault(DEMO_HOST, ListedHost(_open_demo(demo, stack), _describe_demo(demo)))
        from pipeline.crawl.journal import Journal

        journal = stack.enter_context(Journal(workspace.cache / "answers"))
        haul = asyncio.run(_walk(params, listed, hosts, workspace, journal))
        haul.bad_rows = bad_rows
        return _write(haul, journal.folder, workspace)


def _give(endpoint: Endpoint) -> Callable[[], Endpoint]:
    return lambda: endpoint


def _open_demo(demo: DemoParams, stack: ExitStack) -> Callable[[], Endpoint]:
    """Starts the demo's server when it is first asked for, and never if all its answers are kept already."""
    opened: list[Endpoint] = []

    def open_demo() -> Endpoint:
        if not opened:
            from demo.plan import plan_site
            from demo.server import serve

            server = stack.enter_context(serve(plan_site(demo)))
            opened.append(parse_endpoint(f"127.0.0.1:{server.port}"))
        return opened[0]

    return open_demo


def _describe_demo(demo: DemoParams) -> str:
    """What decides the demo's content: its params and its code, but for comments."""
    digest = hashlib.sha256(demo.model_dump_json().encode())
    for path in find_source_files("demo.server"):
        if path.startswith("demo/"):
            digest.update(ast.dump(ast.parse((ROOT / path).read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()


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
