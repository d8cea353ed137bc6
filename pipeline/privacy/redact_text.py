"""Replace personal data in texts, in linear time."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from pipeline.privacy.birth_dates import find_birth_dates
from pipeline.privacy.cards import find_cards
from pipeline.privacy.emails import find_emails
from pipeline.privacy.ibans import find_ibans
from pipeline.privacy.ip_addresses import find_ip_addresses
from pipeline.privacy.kinds import KINDS, Kind
from pipeline.privacy.national_ids import find_national_ids
from pipeline.privacy.passports import find_passports
from pipeline.privacy.person_names import find_person_names
from pipeline.privacy.phones import find_phones
from pipeline.privacy.policy import Policy
from pipeline.privacy.secrets_in_text import find_secrets
from pipeline.privacy.spans import Span, replace_spans

FINDERS: Mapping[Kind, Callable[[str, Policy], Iterable[Span]]] = {
    "secret": lambda text, policy: find_secrets(text),
    "email": lambda text, policy: find_emails(text),
    "iban": lambda text, policy: find_ibans(text),
    "card": lambda text, policy: find_cards(text, policy.strict),
    "national_id": lambda text, policy: find_national_ids(text),
    "passport": lambda text, policy: find_passports(text),
    "birth_date": lambda text, policy: find_birth_dates(text),
    "ip": lambda text, policy: find_ip_addresses(text),
    "phone": lambda text, policy: find_phones(text, policy.regions, policy.strict),
    "name": lambda text, policy: find_person_names(text, policy.model) if policy.model else (),
}
"""How each kind is found. The spans of a kind are in order and do not overlap."""

LEAST_DIGITS: Mapping[Kind, int] = {
    "iban": 6, "card": 12, "national_id": 7, "passport": 4, "birth_date": 3, "ip": 1, "phone": 6,
}  # fmt: skip
"""Digits of a text that may have one of a kind; most captions have fewer, and are not read for it."""

_DIGIT = re.compile(r"\d")


def redact_text(text: str, policy: Policy) -> tuple[str, dict[Kind, int]]:
    """Return `text` with all personal data of the policy's kinds replaced, and how much there was of each kind.

    It expects the output of `normalize_text`, where nothing invisible splits a number. Redacting again finds nothing,
    but where things are removed. Nothing but the spans changes.
    """
    counts: dict[Kind, int] = {}
    digits = len(_DIGIT.findall(text))
    for kind in KINDS:
        if kind in policy.kinds and digits >= LEAST_DIGITS.get(kind, 0):
            text, found = replace_spans(text, FINDERS[kind](text, policy), partial(policy.replace, kind))
            if found:
                counts[kind] = found
    return text, counts
