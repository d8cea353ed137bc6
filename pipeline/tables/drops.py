"""The ledger: every item that comes into a stage is kept, or is a row with a reason. Nothing else can happen to it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.errors import LedgerError, MachineDrops, TooManyDrops


class Reason(StrEnum):
    """Why an item was dropped. One spelling for all stages, so that counts can be added up."""

    # crawl
    ADDRESS_REFUSED = "address_refused"
    BAD_URL = "bad_url"
    CONNECTION_FAILED = "connection_failed"
    HTTP_ERROR = "http_error"
    OPTED_OUT = "opted_out"
    OUT_OF_BOUNDS = "out_of_bounds"
    REDIRECT_REFUSED = "redirect_refused"
    ROBOTS_FORBID = "robots_forbid"
    TIMEOUT = "timeout"
    TLS_FAILED = "tls_failed"
    TOO_LARGE = "too_large"
    TRUNCATED_BODY = "truncated_body"
    # ingest
    CHANGED_WHILE_READ = "changed_while_read"
    EMPTY = "empty"
    LICENCE_REFUSED = "licence_refused"
    NO_ITEMS = "no_items"
    NOT_A_FILE = "not_a_file"
    NOT_UTF8 = "not_utf8"
    PART_NOT_SELECTED = "part_not_selected"
    TYPE_MISMATCH = "type_mismatch"
    UNREADABLE = "unreadable"
    UNSUPPORTED_TYPE = "unsupported_type"
    USED_AS_TABLE = "used_as_table"
    # clean
    BAD_RATE = "bad_rate"
    BROKEN = "broken"
    FLAT = "flat"
    NONFINITE = "nonfinite"
    SILENT = "silent"
    TOO_LONG = "too_long"
    TOO_MANY_CHANNELS = "too_many_channels"
    TOO_MANY_PIXELS = "too_many_pixels"
    TOO_SHORT = "too_short"
    TOO_SMALL = "too_small"
    TRUNCATED = "truncated"
    # align
    AMBIGUOUS_LABEL = "ambiguous_label"
    AMBIGUOUS_SPLIT = "ambiguous_split"
    DUPLICATE = "duplicate"
    EXTRA_ITEM = "extra_item"
    MISSING_LABEL = "missing_label"
    MISSING_PARTNER = "missing_partner"
    MISSING_SPLIT = "missing_split"
    NEAR_DUPLICATE = "near_duplicate"
    NOT_SELECTED = "not_selected"
    RARE_LABEL = "rare_label"
    UNKNOWN_LABEL = "unknown_label"
    # extract
    DECODER_CRASHED = "decoder_crashed"
    MEMORY = "memory"


MACHINE_REASONS = frozenset({Reason.MEMORY, Reason.TIMEOUT})
"""What was dropped for these another machine may keep, or this one on another day: never stored for a later run."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A verdict of a pure function on one item that it was given without its key.

    `detail` is our own words, never the text of an exception: those hold addresses and temporary names.
    `value` and `limit` are what decided, as text, where a number or a name did. `setting` is the key of the param that
    decided, relative to the block that the function was given (`min_side`); empty where no setting did.
    """

    reason: Reason
    detail: str
    value: str = ""
    limit: str = ""
    setting: str = ""

    def drop(self, key: str, block: str = "") -> "Drop":
        """The row of the dropped table for the item `key`; `block` is the full key of the block, `clean.image`."""
        setting = f"{block}.{self.setting}" if self.setting and block else self.setting
        return Drop(key, self.reason, self.detail, self.value, self.limit, setting=setting)


@dataclass(frozen=True, slots=True)
class Drop:
    """A row of `dropped.parquet`.

    Attributes:
        count: 1, or the number of parts that one row stands for.
        setting: the full key in `params.yaml` that decided, empty where none did.
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
class Outcome:
    """What a stage did with what came in, counted in one unit.

    `notes` are further counts for the summary line ("612 samples"); `parts` are ledger rows about parts of kept
    units (captions in languages that a setting leaves out): reported, but outside the sum. `worked` is how many units
    the stage worked on, for the rate in the summary, where that is not `seen`: training goes over its samples once an
    epoch.
    """

    unit: str
    seen: int
    kept: int
    dropped: Sequence[Drop] = ()
    parts: Sequence[Drop] = ()
    notes: Sequence[str] = field(default=())
    worked: int | None = None

    def check(self) -> None:
        """Hold `in = kept + dropped` and one row a key.

        Raises:
            LedgerError: the sum does not hold, or a key was dropped twice; the message has the counts and the key.
        """
        if self.seen != self.kept + len(self.dropped):
            raise LedgerError(f"{self.seen} {self.unit}s came in, {self.kept} kept + {len(self.dropped)} dropped")
        key, times = max(Counter(drop.key for drop in self.dropped).items(), key=lambda kt: kt[1], default=("", 1))
        if times > 1:
            raise LedgerError(f"{self.unit} {key!r} was dropped {times} times")

    def count_reasons(self) -> str:
        """`31 near_duplicate, 4 truncated`: most frequent first, then by name."""
        counts = Counter(str(drop.reason) for drop in self.dropped)
        return ", ".join(f"{n} {reason}" for reason, n in sorted(counts.items(), key=lambda rn: (-rn[1], rn[0])))


def check_drop_share(outcome: Outcome, limit: float, setting: str) -> None:
    """Stop a run that throws away more than the user thinks it does.

    Raises:
        TooManyDrops: more than the share `limit` (0 to 1) was dropped; the message has the counts by reason and
            names `setting`, the key of `params.yaml` that sets the limit.
    """
    share = len(outcome.dropped) / outcome.seen if outcome.seen else 0.0
    if share > limit:
        raise TooManyDrops(
            f"{len(outcome.dropped)} of {outcome.seen} {outcome.unit}s ({share:.0%}) would be dropped, "
            f"{setting} allows {limit:.0%}: {outcome.count_reasons()}. "
            f"Look at the reasons; if they are right, raise {setting} in params.yaml"
        )


def check_machine_drops(outcome: Outcome, allowed: bool) -> None:
    """Stop a run whose result another machine would not give, unless that is `allowed`.

    Raises:
        MachineDrops: something was dropped for one of `MACHINE_REASONS`; the message has the counts by reason and the
            keys of `params.yaml` that would keep it, or let it pass.
    """
    drops = [drop for drop in outcome.dropped if drop.reason in MACHINE_REASONS]
    if drops and not allowed:
        named = Outcome(outcome.unit, len(drops), 0, drops).count_reasons()
        raise MachineDrops(
            f"{len(drops)} {outcome.unit}s were dropped because of this machine: {named}; raise run.memory or "
            "run.item_seconds, or set run.allow_machine_drops in params.yaml to do without them"
        )
