"""Record why items are dropped, and check that every item that a stage sees is either kept or dropped."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.errors import CountMismatch, MachineDrops, TooManyDrops


class Reason(StrEnum):
    """Why an item was dropped. All stages share one spelling, so that counts can be added up."""

    # crawl
    ADDRESS_REFUSED = "address_refused"
    BAD_URL = "bad_url"
    CONNECTION_FAILED = "connection_failed"
    HTTP_ERROR = "http_error"
    OPTED_OUT = "opted_out"
    OUT_OF_BOUNDS = "out_of_bounds"
    PAYMENT_REQUIRED = "payment_required"
    REDIRECT_REFUSED = "redirect_refused"
    ROBOTS_FORBID = "robots_forbid"
    TIMEOUT = "timeout"
    TLS_FAILED = "tls_failed"
    TOO_LARGE = "too_large"
    TRUNCATED_BODY = "truncated_body"
    USED_AS_LIST = "used_as_list"
    # list and ingest
    CHANGED_WHILE_READ = "changed_while_read"
    EMPTY = "empty"
    GUESSED_ENCODING = "guessed_encoding"
    IGNORED = "ignored"
    LICENCE_REFUSED = "licence_refused"
    MISSING_FILE = "missing_file"
    NO_ITEMS = "no_items"
    NOT_A_FILE = "not_a_file"
    NOT_UTF8 = "not_utf8"
    PART_NOT_SELECTED = "part_not_selected"
    TYPE_MISMATCH = "type_mismatch"
    UNREADABLE = "unreadable"
    UNSUPPORTED_TYPE = "unsupported_type"
    USED_AS_TABLE = "used_as_table"
    # clean
    BAD_ASPECT = "bad_aspect"
    BAD_EXPOSURE = "bad_exposure"
    BAD_RATE = "bad_rate"
    BLURRED = "blurred"
    BROKEN = "broken"
    CANCELLED_CHANNELS = "cancelled_channels"
    CLIPPED = "clipped"
    FLAT = "flat"
    NOISY = "noisy"
    NONFINITE = "nonfinite"
    OWN_RULE = "own_rule"
    REPETITIVE = "repetitive"
    SILENT = "silent"
    SYMBOLS = "symbols"
    TOO_LONG = "too_long"
    TOO_MANY_CHANNELS = "too_many_channels"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SHORT = "too_short"
    TOO_SMALL = "too_small"
    TRUNCATED = "truncated"
    # align
    AMBIGUOUS_ITEM = "ambiguous_item"
    AMBIGUOUS_LABEL = "ambiguous_label"
    AMBIGUOUS_SPLIT = "ambiguous_split"
    DUPLICATE = "duplicate"
    EXTRA_ITEM = "extra_item"
    MISSING_LABEL = "missing_label"
    MISSING_PARTNER = "missing_partner"
    MISSING_SPLIT = "missing_split"
    NEAR_DUPLICATE = "near_duplicate"
    NOT_SELECTED = "not_selected"
    PAGE_FURNITURE = "page_furniture"
    RARE_LABEL = "rare_label"
    UNKNOWN_LABEL = "unknown_label"
    # extract
    DECODER_CRASHED = "decoder_crashed"
    MEMORY = "memory"


MACHINE_REASONS = frozenset({Reason.MEMORY, Reason.TIMEOUT})
"""Reasons that depend on the machine and its load. Such verdicts are never cached: the next run tries again."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """The verdict of a pure function that rejects an item. The function does not know the item's key.

    Attributes:
        detail: a description in our own words, never `str(exception)`: exceptions contain addresses and temporary
            names.
        value: the value that decided, as text; empty where none did.
        limit: the limit that it was compared with, as text.
        setting: the key of the param that decided, relative to the block that the function was given (`min_side`), or
            the full key of a limit in `run` (`run.memory`); empty where no setting decided.
    """

    reason: Reason
    detail: str
    value: str = ""
    limit: str = ""
    setting: str = ""

    def name_setting(self, block: str) -> str:
        """Return the full key of the setting, whose block is `block` (`clean.image`); empty where none decided."""
        relative = bool(self.setting and block) and not self.setting.startswith("run.")
        return f"{block}.{self.setting}" if relative else self.setting

    def drop(self, key: str, block: str = "", kept_key: str = "") -> "Drop":
        """Return the dropped row for the item `key`.

        Args:
            key: of the item.
            block: the full key of the block that `setting` is relative to, `clean.image`; empty if it is a full key.
            kept_key: the key of what was kept in the item's place.
        """
        setting = self.name_setting(block)
        return Drop(key, self.reason, self.detail, self.value, self.limit, setting=setting, kept_key=kept_key)


@dataclass(frozen=True, slots=True)
class Drop:
    """A row of a stage's table `dropped`.

    Attributes:
        count: 1, or the number of units or parts that the row stands for.
        setting: the full key in `params.yaml` that decided, several joined by ", "; empty where no setting did.
        kept_key: the key of what was kept in its place, empty where nothing was.
    """

    key: str
    reason: Reason
    detail: str
    value: str = ""
    limit: str = ""
    count: int = 1
    setting: str = ""
    kept_key: str = ""


@dataclass(frozen=True)
class DropCounts:
    """How many units a stage dropped, by reason; `parts` counts rows about parts of units that were kept (captions in
    languages that a setting leaves out): reported, but not counted as dropped."""

    reasons: Mapping[Reason, int] = field(default_factory=dict)
    parts: int = 0

    @property
    def total(self) -> int:
        """Return the number of dropped units."""
        return sum(self.reasons.values())

    def select(self, reasons: Collection[Reason]) -> "DropCounts":
        """Return the counts of these reasons alone."""
        return DropCounts({reason: count for reason, count in self.reasons.items() if reason in reasons})

    def describe(self) -> str:
        """Return `31 near_duplicate, 4 truncated`: most frequent first, then by name."""
        return ", ".join(f"{n} {reason}" for reason, n in sorted(self.reasons.items(), key=lambda rn: (-rn[1], rn[0])))


@dataclass(frozen=True)
class Outcome:
    """The counts of a stage, in one unit.

    Attributes:
        unit: what is counted: url, file, item or sample.
        notes: further counts for the summary line ("612 samples").
        worked: how many units the stage worked on, for the rate in the summary, where that is not `seen`: training goes
            over its samples once an epoch.
    """

    unit: str
    seen: int
    kept: int
    dropped: DropCounts = DropCounts()
    notes: Sequence[str] = ()
    worked: int | None = None

    def check(self) -> None:
        """Check that `seen = kept + dropped`.

        Raises:
            CountMismatch: it does not hold; the message has the counts.
        """
        if self.seen != self.kept + self.dropped.total:
            raise CountMismatch(f"{self.seen} {self.unit}s came in, {self.kept} kept + {self.dropped.total} dropped")


def check_drop_share(outcome: Outcome, limit: float, setting: str) -> None:
    """Stop a run that drops more than the user allows.

    Args:
        outcome: of the stage.
        limit: the largest share that may be dropped, 0 to 1.
        setting: the full key of the limit in `params.yaml`.

    Raises:
        TooManyDrops: a larger share was dropped; the message has the counts by reason and the setting.
    """
    total = outcome.dropped.total
    share = total / outcome.seen if outcome.seen else 0.0
    if share > limit:
        raise TooManyDrops(
            f"{setting} is {limit:g}, but {total} of {outcome.seen} {outcome.unit}s ({share:.0%}) would "
            f"be dropped: {outcome.dropped.describe()}. "
            f"Look at the reasons; if they are right, raise {setting} in params.yaml"
        )


def check_machine_drops(outcome: Outcome, allowed: bool) -> None:
    """Stop a run whose result depends on this machine, unless that is `allowed`.

    Raises:
        MachineDrops: items were dropped for one of `MACHINE_REASONS`; the message has the counts by reason and the
            keys of `params.yaml` that would keep them, or allow to drop them.
    """
    drops = outcome.dropped.select(MACHINE_REASONS)
    if drops.total and not allowed:
        raise MachineDrops(
            f"{drops.total} {outcome.unit}s were dropped because of this machine: {drops.describe()}; raise run.memory "
            "or run.item_seconds, or set run.allow_machine_drops in params.yaml to drop them"
        )
