"""Ask what a site says of a URL before that is requested: robots.txt, the licences it names, tdmrep.json, ai.txt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.consent.ai_txt import AI_FILE, AiFile, parse_ai_file
from pipeline.consent.robots_file import name_line
from pipeline.consent.rsl import MAX_LICENCES, LicenceLink, read_licence
from pipeline.consent.signals import SignalName
from pipeline.consent.statements import ConsentParams, Statement, find_refusal, tidy_line
from pipeline.consent.tdm_file import TDM_FILE, TdmFile, parse_tdm_file
from pipeline.crawl.client import Client
from pipeline.crawl.evidence import Evidence, build_evidence
from pipeline.crawl.http_request import HttpResponse
from pipeline.crawl.robots import MAX_CRAWL_DELAY, Robots, read_robots
from pipeline.crawl.site_files import SiteFiles
from pipeline.formats.urls import BadUrl, canonicalize_url, find_origin
from pipeline.tables.drops import Reason, Rejection

UNREACHABLE = (Reason.ADDRESS_REFUSED, Reason.CONNECTION_FAILED, Reason.TLS_FAILED)
"""Reasons for which, if they stop the request for robots.txt, no URL of the site can be fetched."""

SITE_FILES: dict[SignalName, str] = {"tdmrep": TDM_FILE, "ai-txt": AI_FILE}
"""The files beside robots.txt that speak of use, by their signal."""

_ABSENT = frozenset(range(400, 500)) - {429}
"""Statuses that say that there is no such file; other failures say nothing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL is not requested, or not kept, and what the owner said; without that where the network decided."""

    rejection: Rejection
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class _SiteFile:
    """A site's tdmrep.json or ai.txt: its URL there, parsed, and the time of its fetch.

    `rules` is None where there is none; `failed` if nobody can say whether there is one.
    """

    signal: SignalName
    url: str
    fetched: int
    rules: TdmFile | AiFile | None = None
    failed: bool = False


class SiteRules:
    """What the sites that were asked say to `agent`, the product token by which they know the crawler."""

    def __init__(self, client: Client, files: SiteFiles, agent: str, consent: ConsentParams) -> None:
        self._client = client
        self._source = files
        self._agent = agent
        self._consent = consent
        self._robots: dict[str, tuple[Robots | Rejection, int]] = {}  # with the time of its fetch
        self._files: dict[str, list[_SiteFile]] = {}

    async def find_objection(self, url: str) -> Refusal | None:
        """Return why the canonical URL may not be fetched, or its content not be used; or None.

        Raises:
            FileElsewhere: another process has to go on with a file of its site.
        """
        robots = await self._find_robots(url)
        if isinstance(robots, Rejection):
            return Refusal(robots)
        if forbidden := robots.judge(url):
            return Refusal(Rejection(Reason.ROBOTS_FORBID, forbidden[0]), self._date(forbidden[1], url))
        if refusal := self._refuse(robots.rules.read_statements(url, robots.url), robots.read, url):
            return refusal
        links = [
            LicenceLink(line.value, tidy_line(line.text), name_line(robots.url, line))
            for line in robots.rules.list_lines("license")
        ]
        if refusal := self._refuse(await self.read_licences(links, url, robots.url), robots.read, url):
            return refusal
        return await self._ask_files(robots, url)

    def list_sitemaps(self, url: str) -> tuple[str, ...]:
        """Return the sitemaps that the robots.txt of the site of `url` names, if it was asked."""
        robots, _ = self._robots.get(find_origin(url), (None, 0))
        return robots.list_sitemaps() if isinstance(robots, Robots) else ()

    async def read_licences(self, links: Sequence[LicenceLink], url: str, base: str) -> list[Statement]:
        """Return what the RSL licences that `base` names refuse for `url`."""
        if "rsl" in self._consent.ignore:
            return []
        statements: list[Statement] = []
        for link in links[:MAX_LICENCES]:
            statements += read_licence(await self._read_target(link, base), url, link)
        if len(links) > MAX_LICENCES:
            statements += read_licence(None, url, links[MAX_LICENCES])
        return statements

    async def _read_target(self, link: LicenceLink, base: str) -> bytes | None:
        """Return the document of a licence, or None where it is not there."""
        if link.target is None:
            return link.content
        try:
            target = canonicalize_url(link.target, base)
        except BadUrl:
            return None
        response = await self._source.fetch_anywhere(target)
        return _read_content(response)

    async def _ask_files(self, robots: Robots, url: str) -> Refusal | None:
        for file in await self._find_files(robots, url):
            if file.failed:
                path = SITE_FILES[file.signal]
                rejection = Rejection(Reason.OPTED_OUT, f"{path} cannot be reached, so what it says is not known")
                return Refusal(rejection, self._date(Evidence(file.signal, "", file.url, file.fetched), url))
            statements = file.rules.read_statements(url) if file.rules else ()
            if refusal := self._refuse(statements, file.fetched, url):
                return refusal
        return None

    async def _find_files(self, robots: Robots, url: str) -> list[_SiteFile]:
        origin = find_origin(url)
        files = self._files.get(origin)
        if files is None or not all(self._client.is_of_today(file.fetched) for file in files):
            files = self._files[origin] = await self._fetch_files(robots, url)
        return files

    async def _fetch_files(self, robots: Robots, url: str) -> list[_SiteFile]:
        """Fetch the files that speak of use, but for those that robots.txt forbids to fetch."""
        files = []
        for signal, path in SITE_FILES.items():
            file_url = canonicalize_url(path, url)
            if signal not in self._consent.ignore and not robots.judge(file_url):
                response = await self._source.fetch(path, url)
                failed = response.rejection is not None and response.status not in _ABSENT
                rules = self._parse_file(signal, file_url, _read_content(response))
                files.append(_SiteFile(signal, file_url, response.fetched, rules, failed))
        return files

    def _parse_file(self, signal: SignalName, url: str, content: bytes | None) -> TdmFile | AiFile | None:
        if content is None:
            return None
        return parse_tdm_file(content, url) if signal == "tdmrep" else parse_ai_file(content, url, self._agent)

    def _refuse(self, statements: Iterable[Statement], read: int, url: str) -> Refusal | None:
        # Whether the URL is an image is not known yet; signals about images alone come with a response.
        statement = find_refusal(statements, self._consent)
        if statement is None:
            return None
        return Refusal(reject_use(statement, self._consent), self._date(build_evidence(statement, read), url))

    def _date(self, evidence: Evidence, url: str) -> Evidence:
        return replace(evidence, read=0) if self._client.is_served(url) else evidence

    async def _find_robots(self, url: str) -> Robots | Rejection:
        origin = find_origin(url)  # http and https of one host have a robots.txt each
        robots, fetched = self._robots.get(origin, (None, 0))
        if robots is None or not self._client.is_of_today(fetched):
            robots, fetched = self._robots[origin] = await self._fetch_robots(url)
            self._files.pop(origin, None)
            if isinstance(robots, Robots):
                # Where it asks for more, `judge` forbids everything; other origins of this host may still be fetched.
                self._client.slow_down(url, min(robots.read_delay(), MAX_CRAWL_DELAY))
        return robots

    async def _fetch_robots(self, url: str) -> tuple[Robots | Rejection, int]:
        """Return the rules for the site of `url`, or why neither its robots.txt nor anything else can be fetched.

        And the time of the fetch.
        """
        response = await self._source.fetch("/robots.txt", url)
        read = response.fetched
        if response.rejection and response.rejection.reason in UNREACHABLE:
            return replace(response.rejection, detail=f"robots.txt: {response.rejection.detail}"), read
        unread = response.rejection is not None and response.status in (200, 203)
        status, robots_url = None if unread else response.status, canonicalize_url("/robots.txt", url)
        return read_robots(status, response.body, self._agent, robots_url, read), read


def _read_content(response: HttpResponse) -> bytes | None:
    return response.body if response.rejection is None and response.status in (200, 203) else None


def reject_use(statement: Statement, consent: ConsentParams) -> Rejection:
    """Return the rejection of content whose owner refuses its use."""
    uses = ", ".join(consent.uses)
    return Rejection(Reason.OPTED_OUT, statement.detail, limit=uses, setting="consent.uses")
