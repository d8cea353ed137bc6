"""Run the stage: read the lists, crawl, and write the responses with a row for each URL."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.crawl.contact import check_contact
from pipeline.crawl.listed_hosts import resolve_hosts
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.setup import CrawlSetup
from pipeline.crawl.url_lists import ListedUrl, read_lists
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER, LIST_ROWS
from pipeline.tables.database import open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import Drop, Outcome
from pipeline.tables.table_files import write_table

if TYPE_CHECKING:
    from pipeline.crawl.body_tars import BodyTars
    from pipeline.crawl.breadth_first import VisitedUrl
    from pipeline.crawl.journal import Clock


@dataclass
class CrawlResult:
    """All URLs of a crawl, and the lists' rows."""

    tried: "list[VisitedUrl]"
    passed_over: list[Drop]
    requests: int
    listed: Sequence[ListedUrl]
    bad_rows: Sequence[Drop]


def crawl(params: CrawlParams, workspace: Workspace, clock: "Clock" = time.time) -> Outcome:
    """Fetch the pages and lists of `params` and write `1_crawled/`. Unit: the URL, or the row of a list without one.

    Responses are stored in a journal in the cache: a second run for any reason but `crawl.refresh` makes no request
    for what is there and writes the same bytes. `clock` tells how old they are.

    Raises:
        InputError: a list is missing or cannot be used, or the server of a host cannot start.
        ParamsError: the function that serves a host is missing or refuses its options, or `agent` names no contact.
    """
    rows = list(read_lists(Path(params.lists_folder), params.lists))
    bad_rows = [row for row in rows if isinstance(row, Drop)]
    listed = [row for row in rows if isinstance(row, ListedUrl)]
    check_contact(params, (row.url for row in listed))
    with ExitStack() as stack:
        hosts = resolve_hosts(params.hosts, stack)
        setup = CrawlSetup(params, hosts, workspace.cache / "answers", workspace.run, clock)
        result = _crawl(listed, bad_rows, setup)
    outcome = _write(result, setup.answers, workspace)
    return replace(outcome, notes=[*outcome.notes, *_write_warc(result, setup, workspace)])


def _crawl(listed: Sequence[ListedUrl], bad_rows: Sequence[Drop], setup: CrawlSetup) -> CrawlResult:
    from pipeline.crawl.breadth_first import BreadthFirst
    from pipeline.crawl.discovery.canonical import merge_canonical
    from pipeline.crawl.visit_level import open_level_visitor

    with open_level_visitor(setup) as visitor:
        while True:
            plan = BreadthFirst(setup.params)
            level = plan.plan_first_level(setup.params.start, (row.url for row in listed))
            while level:
                for url, visit in visitor.visit([one.url for one in level]):
                    plan.note_visit(url, visit)
                level = plan.plan_next_level(level)
            # What was judged by older rules, before a request made for newer ones, is judged again: else the rows would
            # depend on the order of the requests, and change in the next run.
            if not visitor.rules_changed:
                break
            visitor.rules_changed = False
    merge_canonical(plan.tried)
    tried = [plan.tried[url] for url in sorted(plan.tried)]
    return CrawlResult(tried, plan.passed_over, visitor.requests, listed, bad_rows)


def _write(result: CrawlResult, journal: Path, workspace: Workspace) -> Outcome:
    from pipeline.crawl.body_tars import BodyTars

    folder, drops, bodies = workspace.work / CRAWLED_FOLDER, [*result.bad_rows], BodyTars(journal)
    write_table(folder / "crawl", _build_rows(result, bodies, drops), CRAWLED)
    write_table(folder / "list_rows", map(_describe_row, filter(_says_something, result.listed)), LIST_ROWS)
    for _ in show_progress(bodies.write(folder), len(bodies), "responses", workspace.run, lambda count: (count, {})):
        pass
    with open_database(workspace.work, workspace.run) as database:
        dropped = DroppedRows(database, "crawl", "url")
        dropped.add(drops)
        dropped.add_parts(result.passed_over)
        counts = dropped.write(folder)
    seen = len(result.tried) + len(result.bad_rows)
    note = _describe_requests(result.requests) if seen else "nothing to crawl: crawl.start and crawl.lists are empty"
    return Outcome("url", seen, seen - len(drops), counts, [note])


def _write_warc(result: CrawlResult, setup: CrawlSetup, workspace: Workspace) -> Iterator[str]:
    """Write WARC files if params ask for them, and yield what there is to say."""
    if not setup.params.warc:
        return
    from pipeline.crawl.answers import Answers
    from pipeline.crawl.journal import Journal
    from pipeline.crawl.warc.captures import Captures
    from pipeline.crawl.warc.files import WARC_FOLDER, WarcWriter

    writer = WarcWriter(workspace.work / CRAWLED_FOLDER / WARC_FOLDER, setup.params.agent)
    with Journal(setup.answers, setup.clock) as journal:
        answers = Answers(journal, setup.params, {name: host.salt for name, host in setup.hosts.items()})
        captures = Captures(answers, setup.params.max_bytes)
        listed = captures.list_all(result.tried)
        for _ in show_progress(writer.write(listed, captures.read), len(listed), "WARC records", workspace.run):
            pass
    yield f"{len(listed) - writer.left_out:,} responses in WARC files"
    if writer.left_out:
        yield f"{writer.left_out:,} not, stored by an older version: another crawl.refresh asks for them again"


def _describe_requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}, all other responses from the cache"


def _build_rows(result: CrawlResult, bodies: "BodyTars", drops: list[Drop]) -> Iterator[dict[str, Any]]:
    """Yield the table's rows, plan where each different body goes, and append rejected URLs to `drops`."""
    for one in result.tried:
        rejection = one.rejection or (one.visit.rejection if one.visit else None)
        row = _describe(one)
        if rejection:
            drops.append(rejection.drop(one.url, "crawl", one.kept_as or ""))
            yield {**row, "reason": str(rejection.reason), "detail": rejection.detail}
            continue
        body = one.visit.body if one.visit else None
        assert body is not None, one.url
        location = bodies.plan(one.url, body)
        yield {**row, "sha256": body.sha256, "tar": location.tar, "offset": location.offset, "size": location.size}


def _describe(one: "VisitedUrl") -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(CRAWLED)
    row |= {"url": one.url, "depth": one.depth, "detail": "", "page": one.embedder or one.page}
    if one.visit:
        row |= {"final_url": one.visit.final_url, "status": one.visit.status, "content_type": one.visit.content_type}
    if one.listed:
        row["page"] = one.url
    evidence = one.evidence if one.rejection else one.visit and one.visit.evidence
    if evidence:
        row |= {"signal": evidence.signal, "signal_line": evidence.line, "signal_place": evidence.place}
        row["signal_read"] = evidence.format_day()
    return row


def _says_something(listed: ListedUrl) -> bool:
    return any(value is not None for value in listed.said.values())


def _describe_row(listed: ListedUrl) -> dict[str, Any]:
    place = {"url": listed.url, "list": listed.file, "line": listed.line}
    return {**dict.fromkeys(LIST_ROWS), **place, **listed.said}
