"""Personal data is found between letters of any script and however it is written; other numbers stay; linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.modalities.modality import Checked
from pipeline.modalities.text.check import check_text, normalize_text
from pipeline.modalities.text.placeholders import EMAIL, PHONE
from pipeline.modalities.text.rules import TextCheck
from pipeline.privacy.kinds import Kind
from pipeline.privacy.phone_regions import DEFAULT_REGIONS
from pipeline.privacy.policy import Policy
from pipeline.privacy.redact_text import redact_text as redact_by_policy

pytestmark = pytest.mark.slow

KINDS: tuple[Kind, ...] = ("email", "phone")


def clean(text: str, regions: tuple[str, ...] = DEFAULT_REGIONS) -> tuple[str, int]:
    checked = check_text(text.encode(), "text/plain", TextCheck(phone_regions=regions, redact=KINDS))
    assert isinstance(checked, Checked)
    return checked.data.decode(), sum(checked.redactions.values())


def redact_text(text: str, kinds: tuple[Kind, ...], regions: tuple[str, ...]) -> tuple[str, int]:
    redacted, counts = redact_by_policy(text, Policy(frozenset(kinds), regions=regions))
    return redacted, sum(counts.values())


NUMBERS = [
    "+1 (555) 010-0199", "+1 555 010 0199", "+1-555-010-0199", "+15550100199", "(555) 010-0199", "555-010-0199",
    "555.010.0199", "555 010 0199", "1-555-010-0199", "555-0100", "0049 30 1234567", "+49 30 1234567",
    "+49 (0)30 1234567", "030 1234567", "(030) 1234567", "030/1234567", "0171-2345678", "+34 612 34 56 78",
    "612 34 56 78", "020 7946 0958", "+44 20 7946 0958", "+33 1 23 45 67 89", "01 23 45 67 89", "01.23.45.67.89",
    "+86 138 0013 8000", "+91 98765 43210", "+1\u2011555\u2011010\u20110199", "+٤٩ ٣٠ ١٢٣٤٥٦٧",
    "13912345678", "139 1234 5678", "021-62889999", "090-1234-5678", "08012345678", "０９０ー１２３４ー５６７８",
    "（０３）１２３４－５６７８", "010-1234-5678", "01012345678", "081-234-5678", "0912-345-678", "0812-3456-7890",
    "98450-12345", "8 (916) 123-45-67", "89161234567", "(11) 98765-4321", "55 1234 5678", "06 12 34 56 78",
    "0612345678", "07911 123456", "0151 12345678", "512-345-678", "02079460958", "00447911123456", "+86-13912345678",
]  # fmt: skip
NAMED = [
    "tel. 5550100", "Phone: 4155550100", "Tel: 61 23 45 67", "fax no. 12 34 56 78", "teléfono 612345678",
    "手机号码：5550100", "電話番号は123456", "전화번호: 1588-1234", "โทร. 1234567", "тел.: 5-55-01-00", "SĐT 12345678",
    "هاتف 5550100", "फ़ोन: 5550100", "call 867-5309", "text me on 9876543210", "tel. 512 345 678",
]  # fmt: skip
NOT_NUMBERS = [
    "1999", "1999-2005", "1914-1918", "2024-05-17", "17.05.2024", "05/17/2024", "01-02-2023 10:30", "01.02.2023 10",
    "1920x1080", "1920 x 1080", "12:30:45", "$1,234,567.89", "1,234,567", "1 234 567", "10 000 000 people",
    "3.14159265358979", "0.123456789012", "192.168.100.200", "978-3-16-148410-0", "v2.10.3", "100-200", "12-15 cm",
    "No. 12345678", "4111 1111 1111 1111", "550e8400-e29b-41d4-a716-446655440000", "1/2 - 3/4", "€ 555-0100",
    "48.8584, 2.2945", "ISO 8601-1:2019", "10-20-30", "IMG_20240517_123456", "pages 200-1250", "650-1250 mm",
    "1234567", "20240517", "5 + 3 = 8", "-40 to +60", "1,234,567,890", "12 345 678 901", "612 345 678 inhabitants",
    "+250 000 000", "+33 500 000 000", "384 768 1536", "640 480 3000", "747-8000", "zip 94103 94107", "0098765432",
    "Order 00123456789", "isbn 0-19-852663-6", "0521880327", "9783161484100", "ISSN 1234-5679", "EAN 4006381333931",
    "1990 1995 2000 2005", "2019-2023", "17.05.2024 18.05.2024", "05.2024 06.2024", "20240517123456", "1700000000000",
    "10.0.19045.3803", "1.2.3.4567.8901", "3840 2160 7680", "score 21-15 21-18 15-13", "48.858370 2.294481",
    "DE89 3704 0044 0532 0130 00", "code 123-45-6789", "12345678901", "RAL 7035 9010 9016", "0123456789",
    "1 2 3 4 5 6 7 8 9 10 11 12", "XR-555-0100", "价格13912345678元", "2024年05月17日", "人口1400000000人",
]  # fmt: skip
ADDRESSES = [
    "jane.doe@example.org", "o'brien+tag@mail.example.co.uk", "a@b.io", "x_y-z%1@sub.example.museum",
    "jürgen@bücher.example", "user@[192.168.1.1]", "JANE@EXAMPLE.ORG", "jane＠example.org", "用户@例子.广告",
    "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｏｒｇ", "иван@пример.рф", "li@例子.中国",
]  # fmt: skip
NOT_ADDRESSES = ["a @ b", "@handle", "me@", "5@3.50", "x@y", "cc @example", "user@localhost", "a@b.c"]


@pytest.mark.parametrize("number", NUMBERS + NAMED)
def test_phone_numbers_are_found(number: str) -> None:
    for text in (number, f"Call {number}.", f"({number})", f"me: {number}, or not", f"Ring {number} now!"):
        cleaned, count = clean(text)
        assert count == 1, cleaned
        assert PHONE in cleaned
        assert not [char for char in cleaned if char.isdigit()], cleaned


@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_other_numbers_stay(text: str) -> None:
    for framed in (text, f"It is {text}.", f"({text})"):
        assert clean(framed) == (framed, 0)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_found(address: str) -> None:
    for text, cleaned in (
        (address, EMAIL),
        (f"<{address}>", f"<{EMAIL}>"),
        (f"mailto:{address}?subject=x", f"mailto:{EMAIL}?subject=x"),
        (f"Ask {address}, or {address}.", f"Ask {EMAIL}, or {EMAIL}."),
    ):
        assert clean(text) == (cleaned, text.count(address))


@pytest.mark.parametrize("text", NOT_ADDRESSES)
def test_what_only_looks_like_an_address_stays(text: str) -> None:
    assert clean(text) == (text, 0)


@pytest.mark.parametrize("joint", ["\u200b", "\u200d", "\u00ad", "\u202e", "\u2060", "\0", "\ufeff"])
def test_invisible_characters_hide_nothing(joint: str) -> None:
    assert clean(f"at {joint.join('jane@example.org')} or {joint.join('+1 555 010 0199')}") == (
        f"at {EMAIL} or {PHONE}",
        2,
    )


def test_what_is_not_asked_for_stays() -> None:
    text = "jane@example.org 555-0100"
    assert redact_text(text, (), DEFAULT_REGIONS) == (text, 0)
    assert redact_text(text, ("email",), DEFAULT_REGIONS) == (f"{EMAIL} 555-0100", 1)
    assert redact_text(text, ("phone",), DEFAULT_REGIONS) == (f"jane@example.org {PHONE}", 1)


def test_an_address_that_is_a_number_is_one_redaction() -> None:
    assert clean("+15550100199@sms.example.org") == (EMAIL, 1)


# Letters of a script, without spaces.
SCRIPTS = {
    "Han": "请把简历发到我们会尽快回复您", "hiragana": "おといあわせください", "katakana": "オトイアワセクダサイ",
    "Hangul": "문의메일보내주세요", "Thai": "สอบถามได้เลย", "Lao": "ຕິດຕໍ່ໄດ້", "Khmer": "សូមទាក់ទង",
    "Myanmar": "ဆက်သွယ်ပါ", "Tibetan": "འབྲེལ་བ", "Devanagari": "संपर्ककरें", "Bengali": "যোগাযোগকরুন", "Tamil": "தொடர்பு",
    "Hebrew": "כתבולתודה", "Arabic": "راسلناشكرا", "Ethiopic": "ያግኙን",
}  # fmt: skip
MADE_UP = {
    EMAIL: ("li.si@example.com", "a@b.co.th", "x_y+z@mail.example.org"),
    PHONE: ("+86 138 0013 8000", "03-1234-5678", "13800138000", "(212) 555-0142"),
}


@settings(max_examples=200)
@given(st.data())
def test_personal_data_between_letters_goes_alone(data: st.DataObject) -> None:
    letters = SCRIPTS[data.draw(st.sampled_from(sorted(SCRIPTS)))]
    before, after = (letters[: data.draw(st.integers(0, len(letters)))] for _ in range(2))
    kind = data.draw(st.sampled_from(sorted(MADE_UP)))
    found = data.draw(st.sampled_from(MADE_UP[kind]))
    before, after = normalize_text(before), normalize_text(after)
    assert redact_text(f"{before}{found}{after}", KINDS, DEFAULT_REGIONS) == (f"{before}{kind}{after}", 1)


@pytest.mark.parametrize("separator", [" ", ", ", ",", "、", " / ", "; ", "或", " or ", "\n"])
def test_each_of_several_numbers_is_found(separator: str) -> None:
    for numbers in (["138-0013-8000", "139-1234-5678"], ["(212) 555-0142", "(212) 555-0143", "+1 212 555 0144"]):
        cleaned, count = clean(separator.join(numbers))
        assert count == len(numbers), cleaned
        assert cleaned == " ".join(separator.join([PHONE] * count).split())


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("(+49) 30 1234567", PHONE), ("(+49 30 1234567)", f"({PHONE})"), ("[020 7946 0958]", f"[{PHONE}]"),
        ("**jane@example.org**", f"**{EMAIL}**"), ("'jane@example.org'", f"'{EMAIL}'"), ("-a@b.io", f"-{EMAIL}"),
        ("发到li@example.com。谢谢", f"发到{EMAIL}。谢谢"), ("发到li@example.com.谢谢", f"发到{EMAIL}.谢谢"),
        ("Ring 020 7946 0958 2 times", f"Ring {PHONE} 2 times"), ("3 x 138-0013-8000 24 h", f"3 x {PHONE} 24 h"),
    ],
)  # fmt: skip
def test_what_stands_around_it_stays(text: str, cleaned: str) -> None:
    assert clean(text) == (cleaned, 1)


def test_national_numbers_are_those_of_the_regions() -> None:
    polish, chinese = "512-345-678", "139 1234 5678"
    assert clean(f"{polish}; {chinese}", ("PL",)) == (f"{PHONE}; {chinese}", 1)
    assert clean(f"{polish}; {chinese}", ("CN",)) == (f"{polish}; {PHONE}", 1)
    assert clean(f"{polish}; tel. {polish}; +48 {polish}", ()) == (f"{polish}; tel. {PHONE}; {PHONE}", 2)


def test_a_region_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="UK must be codes of ISO 3166"):
        TextCheck(phone_regions=("GB", "UK"))
    assert TextCheck(phone_regions=("AT", "CH")).phone_regions == ("AT", "CH")


@settings(max_examples=200)
@given(st.text("0123456789 +-().@/ax:[],中ค电话tel", max_size=60))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once, _ = redact_text(normalize_text(text), KINDS, DEFAULT_REGIONS)
    assert redact_text(once, KINDS, DEFAULT_REGIONS) == (once, 0)


N = 250_000
HOSTILE = {
    "a": "a" * N, "a.": "a." * (N // 2), "@": "@" * N, "a@": "a@" * (N // 2), "a@a": "a@" + "a" * N,
    "labels": "a@" + "a." * (N // 2), "digit labels": "a@" + "1." * (N // 2) + "!", "1": "1" * N,
    "1 ": "1 " * (N // 2), "555-": "555-" * (N // 4), "+": "+" * N, "+1": "+1" * (N // 2), "(0": "(0" * (N // 2),
    "00": "00 1" * (N // 4), "tel": "tel " * (N // 4), "tel1": "tel 1 " * (N // 6), "spaces": " " * N,
    "joiners": "\u200d" * N,
    "marks": "a" + "\u0300\u0316" * (N // 2), "joined": "अ\u200d" * (N // 2), "nul": "\0" * N,
    "dates": "01-02-2023 " * (N // 11),
    "hangul": "\u1100\u1161" * (N // 2), "brackets": "a@[" * (N // 3), "0-": "0-" * (N // 2), "06": "06 " * (N // 3),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_more_than_linear_time(name: str) -> None:
    normalize_text("é")  # makes the pattern of marks
    started = time.process_time()
    redact_text(normalize_text(HOSTILE[name]), KINDS, DEFAULT_REGIONS)
    assert time.process_time() - started < 1  # measured at most 0.15 s; quadratic would be minutes
