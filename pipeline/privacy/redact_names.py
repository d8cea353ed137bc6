"""Replace personal data in what names things: file names, labels, groups, URLs, attribution.

A name has to tell one thing from another and to be the same in all tables. So what is found becomes a pseudonym, which
is the same for the same value and has no character that a path or a URL would escape: `EMAIL-5f2c01d3aa9e`. Digits
alone stay, since names count things with them.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.privacy.kinds import Kind
from pipeline.privacy.policy import Policy
from pipeline.privacy.redact_text import redact_text
from pipeline.privacy.redacted_counts import RedactedCounts

if TYPE_CHECKING:
    import pyarrow as pa

SUSPECT = (
    r"[@＠﹫:=#]|%40|%3[aAdD]|[+＋]\d|[A-Za-z]{2}\d{2}|\d{14}|\d[ .．-]\d+[ .．-]\d+[ .．-]\d|\d{6}[-+A]|"
    r"/(?i:reset|verif|confirm|unsubscribe|invit|magic|token|auth|activate)|(?i:[ (\[]at[ )\]])|eyJ|gh[pousr]_|xox|"
    r"sk[-_]|(?i:pass|pas|pesel|ssn|dni|nie|cpf|born|birth|geb|dob|tel|phone|fax|handy|mobil|celular)|[^\x00-\x7f].{0,8}\d{4}"
)
"""RE2's syntax. Names without such a part have nothing that a rule finds; it looks through a million in a second."""

_SUFFIX = re.compile(
    r"\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic|heif|avif|svg|wav|mp3|ogg|opus|flac|m4a|aac|aiff?|mp4|m4v|webm|mkv|mov|avi|"
    r"txt|md|json|jsonl|html?|csv|tsv|xml|srt|vtt|pdf|parquet)\Z",
    re.IGNORECASE,
)
_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

Redact = Callable[[str, Policy], tuple[str, Mapping[Kind, int]]]


def redact_name(name: str, policy: Policy) -> tuple[str, Mapping[Kind, int]]:
    """Return a name with pseudonyms, and how much was found of each kind; the suffix of a file's name stays."""
    suffix = _SUFFIX.search(name)
    end = suffix.start() if suffix else len(name)
    redacted, counts = redact_text(name[:end], policy)
    return redacted + name[end:], counts


def redact_url(url: str, policy: Policy) -> tuple[str, Mapping[Kind, int]]:
    """Return a URL with pseudonyms in its path and query; its host stays."""
    host = _HOST.match(url)
    start = host.end() if host else 0
    redacted, counts = redact_name(url[start:], policy)
    return url[:start] + redacted, counts


COLUMNS: Mapping[str, Redact] = {
    **dict.fromkeys(("file", "sample", "group", "label", "page_label", "licence", "attribution"), redact_name),
    **dict.fromkeys(("url", "page", "about"), redact_url),
}
"""The columns of ingested items that name things, and how each is redacted."""

DROPPED_COLUMNS = ("key", "detail", "value", "kept_key")
"""Those of dropped rows: names of files, or URLs."""


def name_policy(policy: Policy) -> Policy:
    """Return the policy for names: strict, with pseudonyms, without phone numbers of regions."""
    return replace(policy, action="name", strict=True, regions=())


@dataclass(frozen=True)
class NameRedactor:
    """Redacts columns, and counts what it found.

    Attributes:
        policy: as `name_policy` returns it.
        counts: by column and kind.
    """

    policy: Policy
    counts: RedactedCounts = field(default_factory=RedactedCounts)

    def redact_rows(self, batch: "pa.RecordBatch") -> "pa.RecordBatch":
        """Return rows of ingested items with all columns of `COLUMNS` redacted."""
        for name, redact in COLUMNS.items():
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, batch.schema.field(place), self._redact(name, batch.column(place), redact))
        return batch

    def redact_key(self, text: str) -> str:
        """Return a key of a dropped row or another text that may have a name in it, redacted."""
        return redact_url(text, self.policy)[0]

    def _redact(self, name: str, column: "pa.Array", redact: Redact) -> "pa.Array":
        import pyarrow as pa
        import pyarrow.compute as pc

        suspect = pc.fill_null(pc.match_substring_regex(column, SUSPECT), False)
        if not self.policy.kinds or not pc.any(suspect).as_py():
            return column
        redacted = [self._redact_value(name, value, redact) for value in column.filter(suspect).to_pylist()]
        return pc.replace_with_mask(column, suspect, pa.array(redacted, column.type))

    def _redact_value(self, name: str, value: str, redact: Redact) -> str:
        redacted, counts = redact(value, self.policy)
        self.counts.add(name, counts)
        return redacted


def make_redactor(policy: Policy) -> NameRedactor:
    """Return a redactor of names by the kinds and the key of a policy."""
    return NameRedactor(name_policy(policy))
