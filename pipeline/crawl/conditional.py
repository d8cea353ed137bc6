"""Ask for a URL only if it has changed: the validators of RFC 9110, section 13, and what a 304 stands for. Pure."""

import re
from dataclasses import replace

from pipeline.crawl.http_request import NOT_MODIFIED, HttpResponse

VALIDATORS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
"""By header of an answer: the header of a request that is answered by a 304 as long as it is the same."""

_SAFE = {"etag": re.compile(r'(W/)?"[!#-~]{0,256}"'), "last-modified": re.compile(r"[ -~]{1,64}")}
"""What is sent back to a server: nothing that could not be a validator."""

_OF_BODY = ("content-type",)
"""Headers that describe the stored body, which a 304 does not have (RFC 9111, section 3.2)."""


def make_conditions(earlier: HttpResponse) -> dict[str, str]:
    """Return the headers that ask whether `earlier` is still the answer; none if it cannot be said."""
    if earlier.rejection is not None or earlier.status not in (200, 203):
        return {}
    conditions = {}
    for name, condition in VALIDATORS.items():
        value = (earlier.read_header(name) or "").strip()
        if _SAFE[name].fullmatch(value):
            conditions[condition] = value
    return conditions


def is_unchanged(response: HttpResponse, earlier: HttpResponse) -> bool:
    """Return whether a server said that `earlier` is still the answer, and was asked."""
    return response.status == NOT_MODIFIED and bool(make_conditions(earlier))


def merge_unchanged(earlier: HttpResponse, unchanged: HttpResponse) -> HttpResponse:
    """Return the answer that a 304 stands for: the earlier body, and its headers where the 304 has no newer ones."""
    newer = {name: values for name, values in unchanged.headers.items() if name not in _OF_BODY}
    return replace(earlier, headers={**earlier.headers, **newer}, fetched=unchanged.fetched)
