"""Define the block `crawl:` of `params.yaml`."""

from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field, JsonValue, Tag

from pipeline.config.params import FunctionName, Params, Strings
from pipeline.consent.statements import ConsentParams
from pipeline.crawl.addresses import parse_endpoint
from pipeline.crawl.url_patterns import check_pattern


class UrlList(Params):
    """A table with a URL a row, and the names of its columns; null: the list has no such column.

    A URL may have any number of rows. It is fetched once, and what each row says of it is kept.
    """

    file: Annotated[str, Field(pattern=r"^[^/].*\.(csv|tsv|jsonl|json|parquet|txt)$")]
    """Path below `crawl.lists_folder`; the ending determines the format. A txt file has a URL a line, no columns."""
    url: Annotated[str, Field(min_length=1)] = "url"
    """Column of the URL."""
    caption: str | None = None
    """Column of a text about the file at the URL, or of a list of texts; each becomes an item of its own."""
    label: str | None = None
    """Column of the label."""
    group: str | None = None
    """Column of the group: samples that must be in one split."""
    split: str | None = None
    """Column of the split (train, val, test) that the list assigns."""
    licence: str | None = None
    """Column of the licence."""
    attribution: str | None = None
    """Column of the attribution."""
    language: str | None = None
    """Column of the language of the caption."""
    sample: str | None = None
    """Column of the sample that the file belongs to."""
    start: str | None = None
    """Column of the second at which the used span of a recording begins."""
    end: str | None = None
    """Column of the second at which it ends."""


class ServedHost(Params):
    """A host that a Python function serves on this machine while the crawl runs."""

    serve: FunctionName
    """`module:function`, imported when the crawl starts. The function takes the options and their full key, for its
    error messages, and returns a context manager that yields `127.0.0.1:port`."""
    options: dict[str, JsonValue] = Field(default={})
    """Given to the function, which checks them. Responses are cached under the function's name and the options:
    another value fetches the host's URLs anew, an edit of the function's code does not (see `refresh`)."""


def _check_address(text: str) -> str:
    parse_endpoint(text)
    return text


HostName = Annotated[str, Field(pattern=r"^[a-z0-9._:-]+$")]
HostAddress = Annotated[str, Field(pattern=r"^([0-9.]+|\[[0-9a-f:.]+\]):[0-9]{1,5}$"), AfterValidator(_check_address)]
Host = Annotated[
    Annotated[HostAddress, Tag("<address>")] | Annotated[ServedHost, Tag("<served>")],
    Discriminator(lambda host: "<served>" if isinstance(host, (dict, ServedHost)) else "<address>"),
]


ROBOTS = "robots"
"""In `sitemaps`: those that robots.txt names."""

Patterns = Annotated[tuple[Annotated[str, AfterValidator(check_pattern)], ...], Field(strict=False)]
"""Patterns of URLs, see `pipeline.crawl.url_patterns`."""

LOCAL_PER_HOST = 8
"""Requests at a time to a host of one's own machine. `breadth_first` starts as many visits of a host."""


class CrawlParams(Params):
    """Which URLs are fetched, and within which limits."""

    start: Strings = ()
    """Pages, sitemaps and feeds to start from; links are followed within their host."""
    sitemaps: Strings = ()
    """Sitemaps to read (XML, an index, a URL a line; also gzip), and `robots`: those that robots.txt of the start
    pages' sites names."""
    feeds: bool = False
    """Read the feeds that pages name (RSS, Atom, JSON Feed); one in `start` or behind a link is read in any case."""
    include: Patterns = ()
    """Pages that links, sitemaps and feeds lead to must match one of these patterns, unless there is none: a host, a
    path or both, as in `*.example.org/photos/**`. `*` stands for anything but `/`, `**` for anything."""
    exclude: Patterns = ()
    """Nothing that matches one of these patterns is requested, but for start pages and listed URLs."""
    warc: bool = False
    """Also write what was fetched into WARC files (ISO 28500), `1_crawled/warc`, for others to replay."""
    canonical: bool = True
    """A page that names another URL as its own (`<link rel=canonical>`) counts as that, if that was kept."""
    lists: Annotated[tuple[UrlList, ...], Field(strict=False)] = ()
    """URL lists; their URLs are fetched, and no links in them are followed."""
    lists_folder: Annotated[str, Field(min_length=1)] = "lists"
    """The folder of the lists. `dvc.yaml` watches it, so an edited list runs the stage again."""
    hosts: dict[HostName, Host] = Field(default={})
    """Hosts that DNS does not know, and the only way to one whose address is not public: by name (or address) in lower
    case, either the `address:port` at which to reach it, or a Python function that serves it while the crawl runs."""
    agent: Annotated[str, Field(pattern=r"^[A-Za-z_-]+(/[!-~]+)? ?[ -~]*$")] = (
        "shardwright/0.1 (+https://example.org/shardwright)"
    )
    """The User-Agent header. Its first word is the crawler's name for robots.txt. It must say where you can be reached,
    a page or a mail address: with the placeholder `example.org` only listed hosts are crawled."""
    max_depth: Annotated[int, Field(ge=0)] = 8
    """Largest number of links from a start page; what a page embeds does not count as a link."""
    max_urls: Annotated[int, Field(ge=1)] = 100_000
    """Largest number of URLs that are requested; further ones are dropped as out_of_bounds."""
    max_bytes: Annotated[int, Field(ge=1, lt=2**33)] = 33_554_432
    """Largest size of a response, decompressed."""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds for one response, from the lookup of its host to the last byte."""
    per_host: Annotated[int, Field(ge=1, le=64)] | None = None
    """Requests at a time to one host; null: 2, and 8 to one that is listed at a loopback address."""
    delay: Annotated[float, Field(ge=0, le=3600)] | None = None
    """Seconds between two requests to one host, also for its robots.txt, redirects and retries; robots.txt may ask for
    more. null: 1, and 0 for one that is listed at a loopback address."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Retries after a 429, a 5xx or a broken connection."""
    backoff: Annotated[float, Field(ge=0, le=60)] = 0.5
    """Seconds before the first retry, doubled for each further one. Retry-After may ask for more, after a 429 or 503
    for the whole host."""
    consent: ConsentParams = Field(default=ConsentParams())
    """Which statements of owners about the use of their content count."""
    refresh: Annotated[int, Field(ge=0)] = 0
    """Responses are cached and not requested again; another number asks for everything anew, and what has not changed
    since is not transferred again."""
    retry: Annotated[int, Field(ge=0)] = 0
    """A larger number asks once more for what failed and may succeed by now: hosts that were down or slow, 5xx, 429."""

    def find_per_host(self, local: bool) -> int:
        """Return the requests at a time to a host; `local`: it is listed at a loopback address."""
        return self.per_host or (LOCAL_PER_HOST if local else 2)

    def find_delay(self, local: bool) -> float:
        """Return the seconds between two requests to a host."""
        if self.delay is not None:
            return self.delay
        return 0.0 if local else 1.0
