"""Read what the headers of a response say of the use of its content. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence

from pipeline.consent.robot_directives import NO_FOLLOW, read_directives, split_header
from pipeline.consent.robots_file import PREFERENCES
from pipeline.consent.rsl import RSL_TYPE, LicenceLink
from pipeline.consent.statements import AI_USES, Statement, tidy_line
from pipeline.consent.usage_lists import read_refused_uses

Headers = Mapping[str, Sequence[str]]
"""Header names in lower case, each with its values in their order."""

HEADERS = ("x-robots-tag", "tdm-reservation", "content-usage", "content-signal", "link")
"""The headers that are read here."""

_LINK = re.compile(r'<([^>]*)>((?:\s*;\s*[\w*-]+\s*=\s*(?:"[^"]*"|[^",;\s]*))*)')
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"([^"]*)"|([^",;\s]*))')
"""A link and its parameters (RFC 8288, section 3)."""


def read_header_statements(headers: Headers, agent: str) -> Iterator[Statement]:
    """Yield what a response's headers refuse to the agent whose product token is `agent`."""
    for value in headers.get("x-robots-tag", ()):
        line = f"X-Robots-Tag: {value}"
        yield from read_directives(split_header(value, agent), "X-Robots-Tag", line, "header X-Robots-Tag")
    for value in headers.get("tdm-reservation", ()):
        if value.strip().strip('"') == "1":
            yield Statement("tdmrep", AI_USES, "tdm-reservation: 1", "tdm-reservation: 1", "header TDM-Reservation")
    for name, signal in PREFERENCES.items():
        for value in headers.get(name, ()):
            if uses := read_refused_uses(value):
                line = tidy_line(f"{name.title()}: {value}")
                yield Statement(signal, uses, line, line, f"header {name.title()}")


def forbids_links(headers: Headers, agent: str) -> bool:
    """Return whether the links of a page are not to be followed."""
    return any(NO_FOLLOW & set(split_header(value, agent)) for value in headers.get("x-robots-tag", ()))


def list_header_licences(headers: Headers) -> Iterator[LicenceLink]:
    """Yield the RSL licences that `Link` headers name."""
    for value in headers.get("link", ()):
        for target, parameters in _LINK.findall(value):
            found = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(parameters)}
            if "license" in found.get("rel", "").lower().split() and found.get("type", "").lower() == RSL_TYPE:
                yield LicenceLink(target, tidy_line(f"Link: {value}"), "header Link")
