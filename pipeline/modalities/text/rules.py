"""List the rules of `clean.text`."""

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field as Limits
from pydantic import model_validator

from pipeline.modalities.rules import CleaningRule, OwnRules, add_rules
from pipeline.modalities.text.quality import count_dense, measure_repetition, measure_symbols
from pipeline.privacy.kinds import DEFAULT_KINDS, Kind
from pipeline.privacy.phone_regions import DEFAULT_REGIONS, list_unknown_regions
from pipeline.privacy.policy import Action, Policy, read_policy
from pipeline.tables.drops import Reason


@dataclass(frozen=True, slots=True)
class TextFacts:
    """What rules compare: the text, and its code points."""

    text: str

    @property
    def characters(self) -> int:
        """Code points."""
        return len(self.text)

    @property
    def weight(self) -> int:
        """Code points, where one of a script that writes words or syllables counts as two."""
        return len(self.text) + count_dense(self.text)


RULES: tuple[CleaningRule[TextFacts], ...] = (
    CleaningRule(
        setting="min_characters",
        type=Annotated[int, Limits(ge=1)],
        default=2,
        meaning="Code points of the cleaned text; one of a script that writes words or syllables (Han, kana, Hangul) "
        "counts as two.",
        source="chosen by hand: one letter describes nothing, one Han character may be a word",
        bound="min",
        measure=lambda facts: facts.weight,
        details={"decoded": "characters, cleaned"},
        reason=Reason.TOO_SHORT,
    ),
    CleaningRule(
        setting="max_characters",
        type=Annotated[int, Limits(ge=1, le=1_000_000)],
        default=100_000,
        meaning="Code points of the text as ingested.",
        source="chosen by hand: some 30 printed pages",
        bound="max",
        measure=lambda facts: facts.characters,
        details={"header": "characters, as ingested"},
        reason=Reason.TOO_LONG,
    ),
    CleaningRule(
        setting="max_repetition",
        type=Annotated[float, Limits(ge=0, le=1)],
        default=1.0,
        meaning="Share of the stretches of 12 characters that the text had before; 1 drops nothing. Prose has less "
        "than 0.05, lists and boilerplate 0.3 and more.",
        source="off: refrains and labels repeat themselves on purpose",
        bound="max",
        measure=lambda facts: measure_repetition(facts.text),
        details={"decoded": "share of the text that it had before"},
        reason=Reason.REPETITIVE,
        format=".3f",
        off=1.0,
    ),
    CleaningRule(
        setting="max_symbols",
        type=Annotated[float, Limits(ge=0, le=1)],
        default=1.0,
        meaning="Share of characters that are neither letters, marks, digits nor spaces; 1 drops nothing. Prose has "
        "less than 0.1, source code 0.2 and more.",
        source="off: what is a symbol too many depends on the kind of texts",
        bound="max",
        measure=lambda facts: measure_symbols(facts.text),
        details={"decoded": "share of characters that are neither letters, digits nor spaces"},
        reason=Reason.SYMBOLS,
        format=".3f",
        off=1.0,
    ),
)
"""In the order of the keys. A text has no header: rules of that moment are checked before it is cleaned."""


@add_rules(RULES)
class TextCheck(OwnRules):
    """Limits that texts are held to, and what is redacted."""

    redact: Annotated[tuple[Kind, ...], Limits(strict=False)] = DEFAULT_KINDS
    """Kinds of personal data that are looked for; all by default but `name`, which needs `redact_model`."""
    redact_action: Action = "placeholder"
    """What takes their place: a placeholder as [EMAIL], a pseudonym as [EMAIL-5f2c01d3aa9e], which is the same for the
    same value in all texts, or nothing (`remove`)."""
    redact_key: Annotated[str, Limits(min_length=1)] | None = None
    """File of the key of pseudonyms, at least 16 random bytes. Null: no key, so that a guess of a value can be
    checked."""
    redact_model: Annotated[str, Limits(min_length=1)] | None = None
    """Pipeline of spaCy that finds names of persons, for the kind `name`: a package, as `en_core_web_sm`, or a
    folder."""
    phone_regions: Annotated[tuple[Annotated[str, Limits(pattern="^[A-Z]{2}$")], ...], Limits(strict=False)] = (
        DEFAULT_REGIONS
    )
    """Countries whose phone numbers are found as they are written there, without a country code; codes of ISO 3166."""

    @model_validator(mode="after")
    def _check_regions(self) -> Self:
        given = self.phone_regions
        if given != DEFAULT_REGIONS and (unknown := list_unknown_regions(given)):  # the library takes 0.1 s to import
            raise self.refuse("phone_regions", f"{', '.join(unknown)} must be codes of ISO 3166, like GB")
        return self

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if "name" in self.redact and self.redact_model is None:
            raise self.refuse("redact_model", "it must name a pipeline of spaCy where redact has name")
        return self

    def read_policy(self) -> Policy:
        """Return the policy of these settings.

        Raises:
            ParamsError: the file of the key cannot be used.
        """
        return read_policy(self.redact, self.redact_action, self.phone_regions, self.redact_key, self.redact_model)
