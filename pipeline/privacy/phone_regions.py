"""Tell phone numbers from other numbers by the plans of countries, as Google's libphonenumber has them."""

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phonenumbers import PhoneMetadata

DEFAULT_REGIONS = (
    "BR", "CN", "DE", "ES", "FR", "GB", "ID", "IN", "IT", "JP", "KR", "MX", "NL", "PL", "RU", "TH", "TR", "TW", "UA",
    "US", "VN",
)  # fmt: skip
"""Where most people live who write the languages most written on the web; US has Canada's numbers too."""

MAX_CACHED = 10_000
"""Numbers whose verdict is kept: a lookup in 21 plans takes 1 ms."""


def list_unknown_regions(regions: tuple[str, ...]) -> list[str]:
    """Return those that are no region with a plan of numbers, by the codes of ISO 3166."""
    from phonenumbers import SUPPORTED_REGIONS

    return [region for region in regions if region not in SUPPORTED_REGIONS]


@lru_cache(MAX_CACHED)
def is_international(digits: str, strict: bool) -> bool:
    """Return whether the digits are a country code and a number as long as that country's are; with `strict`, one that
    its plan assigns."""
    import phonenumbers

    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(number) if strict else phonenumbers.is_possible_number(number)


@lru_cache(MAX_CACHED)
def is_assigned(digits: str, regions: tuple[str, ...]) -> bool:
    """Return whether the plan of a region assigns a number, with or without its trunk prefix."""
    return any(_format_number(digits, region, mobile=False) for region in regions)


@lru_cache(MAX_CACHED)
def is_national(groups: tuple[str, ...], regions: tuple[str, ...]) -> bool:
    """Return whether a number of a region is written in these groups of digits, as people write it there.

    All groups but the first may be joined, or the trunk prefix left out where people do so. A single group has to be a
    mobile number with the prefix, if there is one: others are rarely written so.
    """
    return any(_is_of_region(groups, region) for region in regions)


def _is_of_region(groups: tuple[str, ...], region: str) -> bool:
    digits, is_single = "".join(groups), len(groups) == 1
    written = _format_number(digits, region, mobile=is_single)
    all_digits = "".join(written)
    if not written or is_single:
        return digits == all_digits
    if digits == all_digits:
        return groups[0] == written[0] and _list_ends(groups) <= _list_ends(written)
    left_out = written[0][: len(all_digits) - len(digits)]
    return _may_omit_prefix(region) and left_out + groups[0] == written[0] and groups[1:] == written[1:]


def _may_omit_prefix(region: str) -> bool:
    """Return whether numbers of the region are written without their trunk prefix too."""
    return any(form.national_prefix_optional_when_formatting for form in _read_plan(region).number_format)


def _read_plan(region: str) -> "PhoneMetadata":
    from phonenumbers import PhoneMetadata

    plan = PhoneMetadata.metadata_for_region(region)
    assert plan is not None  # params name regions that have one
    return plan


def _format_number(digits: str, region: str, mobile: bool) -> tuple[str, ...]:
    """Return the groups of digits in which a number of the region is written there, with the trunk prefix; none if it
    has no such number."""
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    if not _has_form(digits, region, mobile):
        return ()
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return ()
    kinds = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
    if not phonenumbers.is_valid_number(number) or (mobile and phonenumbers.number_type(number) not in kinds):
        return ()
    national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    return tuple("".join(char if char.isdigit() else " " for char in national).split())


def _list_ends(groups: tuple[str, ...]) -> set[int]:
    return {len("".join(groups[: number + 1])) for number in range(len(groups))}


def _has_form(digits: str, region: str, mobile: bool) -> bool:
    """Return whether the digits have the form of the region's numbers: a twentieth of the time of parsing them."""
    prefix, *patterns = _compile_forms(region)
    return any(patterns[mobile].fullmatch(form) for form in (digits, digits.removeprefix(prefix)))


@cache
def _compile_forms(region: str) -> tuple[str, re.Pattern[str], re.Pattern[str]]:
    """Return the region's trunk prefix, and the forms of all its numbers and of mobile ones without it."""
    plan = _read_plan(region)
    every, mobile = (
        re.compile((kind.national_number_pattern if kind else None) or "(?!)")
        for kind in (plan.general_desc, plan.mobile)
    )
    return plan.national_prefix or "", every, mobile
