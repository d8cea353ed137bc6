"""Make texts with personal data at known places, and texts with other numbers, from seeds alone.

A planted text is `before + value + after`; redacting it should give `before + placeholder + after`.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from itertools import pairwise
from uuid import UUID

import phonenumbers
from stdnum import iban, luhn

from pipeline.privacy.kinds import Kind

SENTENCES = {
    "en": ("Write to us: {} and we answer within a day.", "The entry is {}, as noted.", "({})", "See {}."),
    "de": ("Schreiben Sie uns: {} – wir antworten bald.", "Der Eintrag lautet {}, wie vermerkt.", "„{}“", "Siehe {}."),
    "fr": ("Écrivez-nous : {} et nous répondrons.", "L'entrée est {}, comme noté.", "« {} »", "Voir {}."),
    "es": ("Escríbanos: {} y responderemos.", "La entrada es {}, según consta.", "¿{}?", "Ver {}."),
    "ru": ("Пишите нам: {} и мы ответим.", "Запись: {}, как указано.", "«{}»", "См. {}."),
    "zh": ("请联系我们{}谢谢您的配合", "记录是{}，如上所述。", "（{}）", "见{}。"),
    "ja": ("こちらへ{}までお願いします", "記録は{}です。", "「{}」", "詳細は{}を参照"),
    "th": ("ติดต่อเราที่{}ได้เลยครับ", "ข้อมูลคือ{}ตามที่ระบุ", "({})", "ดู{}"),
}
"""A value stands in these, in Chinese, Japanese and Thai without spaces around it."""

REGIONS = {"en": "US", "de": "DE", "fr": "FR", "es": "ES", "ru": "RU", "zh": "CN", "ja": "JP", "th": "TH"}
BIRTH = {
    "en": "born on ", "de": "geboren am ", "fr": "né le ", "es": "fecha de nacimiento: ", "ru": "дата рождения: ",
    "zh": "出生日期：", "ja": "生年月日：", "th": "วันเกิด ",
}  # fmt: skip
PASSPORT = {
    "en": "passport no. ", "de": "Reisepass-Nr. ", "fr": "passeport n° ", "es": "pasaporte ", "ru": "паспорт № ",
    "zh": "护照号码：", "ja": "パスポート番号：", "th": "หนังสือเดินทางเลขที่ ",
}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """A text with one value of a kind; `sort` is the finer kind, such as `email_obfuscated`."""

    sort: str
    kind: Kind
    language: str
    before: str
    value: str
    after: str

    @property
    def text(self) -> str:
        return self.before + self.value + self.after


def _word(draw: random.Random, least: int = 3, most: int = 9) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(least, most)))


def make_email(draw: random.Random, language: str) -> str:
    local = draw.choice(["{}.{}", "{}_{}", "{}-{}", "{}+{}", "{}{}"]).format(_word(draw), _word(draw))
    top = draw.choice(["com", "org", "net", "de", "co.uk", "com.cn", "co.jp", "io"])
    address = f"{local}@{_word(draw)}.{top}"
    return draw.choice([address, address, address.upper()])


def make_idn_email(draw: random.Random, language: str) -> str:
    hosts = ["bücher.example", "пример.рф", "例え.jp", "café.fr", "xn--bcher-kva.example", "münchen.de"]
    return f"{_word(draw)}.{_word(draw)}@{draw.choice(hosts)}"


def make_obfuscated_email(draw: random.Random, language: str) -> str:
    at = draw.choice([" at ", " (at) ", "(at)", " [at] ", "[at]", "{at}", " AT "])
    spelled = at.strip(" ").lower() == "at"
    dot = draw.choice([" dot ", " DOT "] if spelled else [".", " dot ", " [dot] ", "(dot)", "[dot]"])
    return f"{_word(draw)}{at}{_word(draw)}{dot}{draw.choice(['com', 'org', 'net', 'de', 'fr', 'io'])}"


def make_phone(draw: random.Random, language: str, international: bool) -> str:
    """A valid number of the language's region with separators."""
    region = REGIONS[language]
    example = phonenumbers.example_number_for_type(
        region, draw.choice([phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
    )
    assert example is not None
    while True:
        digits = str(example.national_number)
        kept = draw.randint(2, 4)
        national = digits[:kept] + "".join(draw.choices(string.digits, k=len(digits) - kept))
        number = phonenumbers.parse(f"+{example.country_code}{national}")
        if phonenumbers.is_valid_number_for_region(number, region):
            break
    form = phonenumbers.PhoneNumberFormat.INTERNATIONAL if international else phonenumbers.PhoneNumberFormat.NATIONAL
    written = phonenumbers.format_number(number, form)
    if not any(char in " -()" for char in written):
        return make_phone(draw, language, international)
    return draw.choice([written, written, written.replace("-", " "), written.replace(" ", "-")])


def make_ipv4(draw: random.Random, language: str) -> str:
    first = draw.choice([number for number in range(11, 224) if number != 127])
    return ".".join(map(str, [first, *(draw.randint(0, 254) for _ in range(3))]))


def make_ipv6(draw: random.Random, language: str) -> str:
    address = IPv6Address((0x2001_0DB8 << 96) | draw.getrandbits(96) & ~(draw.choice([0, 0xFFFFFFFF]) << 32))
    return draw.choice([str(address), address.exploded])


def make_card(draw: random.Random, language: str) -> str:
    start, length = draw.choice(
        [("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("3530", 16), ("62", 16)]
    )
    digits = start + "".join(draw.choices(string.digits, k=length - len(start) - 1))
    digits += luhn.calc_check_digit(digits)
    sizes = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    places = [sum(sizes[:count]) for count in range(len(sizes) + 1)]
    groups = [digits[start:end] for start, end in pairwise(places)]
    return draw.choice(["", " ", "-"]).join(groups)


def make_iban(draw: random.Random, language: str) -> str:
    country, form = draw.choice(
        [("DE", "n" * 18), ("GB", "a" * 4 + "n" * 14), ("FR", "n" * 10 + "c" * 11 + "nn"), ("ES", "n" * 20),
         ("NL", "a" * 4 + "n" * 10), ("CH", "n" * 5 + "c" * 12), ("NO", "n" * 11), ("PL", "n" * 24)]
    )  # fmt: skip
    letters = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits + string.ascii_uppercase}
    body = "".join(draw.choice(letters[kind]) for kind in form)
    number = country + iban.calc_check_digits(f"{country}00{body}") + body
    return draw.choice([number, " ".join(number[at : at + 4] for at in range(0, len(number), 4))])


def make_national_id(draw: random.Random, language: str) -> str:
    from stdnum.br import cpf
    from stdnum.cn import ric
    from stdnum.th import pin

    def complete(module: object, length: int, first: str) -> str:
        while True:
            body = first + "".join(draw.choices(string.digits, k=length - len(first)))
            for last in "0123456789X":
                if module.is_valid(body[:-1] + last):  # type: ignore[attr-defined]
                    return body[:-1] + last

    which = draw.randint(0, 2)
    if which == 0:
        day = f"19{draw.randint(50, 99)}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}"
        return complete(ric, 18, f"110101{day}")
    if which == 1:
        while True:
            body = "".join(draw.choices(string.digits, k=9))
            number = next((body + f"{end:02d}" for end in range(100) if cpf.is_valid(body + f"{end:02d}")), None)
            if number:
                return f"{number[:3]}.{number[3:6]}.{number[6:9]}-{number[9:]}"
    number = complete(pin, 13, draw.choice("12345678"))
    return f"{number[0]}-{number[1:5]}-{number[5:10]}-{number[10:12]}-{number[12]}"


def make_credentials(draw: random.Random, language: str) -> str:
    return f"{_word(draw)}:{_word(draw)}{draw.randint(10, 99)}"


def make_token(draw: random.Random, language: str) -> str:
    return "".join(draw.choices(string.ascii_letters + string.digits + "-_", k=draw.randint(16, 40)))


def make_birth_date(draw: random.Random, language: str) -> str:
    year, month, day = draw.randint(1930, 2015), draw.randint(1, 12), draw.randint(1, 28)
    if language in ("zh", "ja") and draw.random() < 0.5:
        return f"{year}年{month}月{day}日"
    return draw.choice([f"{day:02d}.{month:02d}.{year}", f"{day}/{month}/{year}", f"{year}-{month:02d}-{day:02d}"])


def make_passport(draw: random.Random, language: str) -> str:
    if language == "de":
        return "C" + "".join(draw.choices("CFGHJKLMNPRTVWXYZ", k=2)) + f"{draw.randint(10**5, 10**6 - 1)}"
    return draw.choice(["", "AB", "E", "TK"]) + str(draw.randint(10**7, 10**8 - 1))


Maker = Callable[[random.Random, str], str]

SORTS: dict[str, tuple[Kind, Maker]] = {
    "email": ("email", make_email),
    "email_idn": ("email", make_idn_email),
    "email_obfuscated": ("email", make_obfuscated_email),
    "phone_international": ("phone", lambda draw, language: make_phone(draw, language, international=True)),
    "phone_national": ("phone", lambda draw, language: make_phone(draw, language, international=False)),
    "ipv4": ("ip", make_ipv4),
    "ipv6": ("ip", make_ipv6),
    "card": ("card", make_card),
    "iban": ("iban", make_iban),
    "national_id": ("national_id", make_national_id),
    "credentials": ("secret", make_credentials),
    "token": ("secret", make_token),
    "birth_date": ("birth_date", make_birth_date),
    "passport": ("passport", make_passport),
}
FRAMES = {"credentials": ("https://", "@host.example/a"), "token": ("https://host.example/a?id=7&token=", "&page=2")}


def plant(count: int, seed: int = 0) -> list[Planted]:
    """Return so many texts, each sort and language in turn."""
    draw = random.Random(seed)
    names, languages = list(SORTS), list(SENTENCES)
    texts = []
    for number in range(count):
        sort, language = names[number % len(names)], languages[number // len(names) % len(languages)]
        kind, make = SORTS[sort]
        before, after = draw.choice(SENTENCES[language]).split("{}")
        opened, closed = FRAMES.get(sort, ("", ""))
        cue = {"birth_date": BIRTH, "passport": PASSPORT}.get(sort, {}).get(language, "")
        value = make(draw, language)
        texts.append(Planted(sort, kind, language, before + opened + cue, value, closed + after))
    return texts


def make_numbers(count: int, seed: int = 1) -> list[str]:
    """Return texts rich in numbers of which none is personal: prices, dates, sizes, versions, sections, coordinates,
    scores, ISBNs, order numbers, checksums, times, tables of data."""
    draw = random.Random(seed)

    def isbn() -> str:
        digits = "978" + "".join(draw.choices(string.digits, k=9))
        check = -sum(int(digit) * (1 + 2 * (place % 2)) for place, digit in enumerate(digits)) % 10
        return f"ISBN {digits[:3]}-{digits[3]}-{digits[4:6]}-{digits[6:12]}-{check}"

    def pick(low: int, high: int) -> int:
        return draw.randint(low, high)

    makers: list[Callable[[], str]] = [
        lambda: f"${pick(1, 999)},{pick(0, 999):03d}.{pick(0, 99):02d}",
        lambda: f"{pick(1, 28):02d}.{pick(1, 12):02d}.{pick(1900, 2030)}",
        lambda: f"{pick(1990, 2030)}-{pick(1, 12):02d}-{pick(1, 28):02d} {pick(0, 23):02d}:"
        f"{pick(0, 59):02d}:{pick(0, 59):02d}",
        lambda: f"{pick(100, 4000)}x{pick(100, 4000)} px",
        lambda: f"version {pick(0, 20)}.{pick(0, 30)}.{pick(0, 99)}",
        lambda: f"v{pick(0, 20)}.{pick(0, 30)}.{pick(0, 99)}.{pick(0, 99)}",
        lambda: f"section {pick(1, 9)}.{pick(1, 9)}.{pick(1, 9)}.{pick(1, 9)}",
        lambda: f"{draw.uniform(-90, 90):.6f}, {draw.uniform(-180, 180):.6f}",
        lambda: f"{pick(0, 30)}-{pick(0, 30)} {pick(0, 30)}-{pick(0, 30)}",
        isbn,
        lambda: f"order {pick(10**9, 10**12)}",
        lambda: f"invoice no. {pick(10**7, 10**8)}",
        lambda: f"{draw.getrandbits(128):032x}",
        lambda: f"{pick(1, 99)} {pick(100, 999)} {pick(100, 999)} inhabitants",
        lambda: " ".join(str(pick(0, 9999)) for _ in range(6)),
        lambda: "; ".join(f"{draw.uniform(0, 100):.3f}" for _ in range(5)),
        lambda: f"{pick(1_500_000_000, 1_799_999_999)}",
        lambda: f"{pick(1_500_000_000_000, 1_799_999_999_999)} ms",
        lambda: f"价格{pick(100, 99999)}元，{pick(1990, 2030)}年{pick(1, 12)}月{pick(1, 28)}日",
        lambda: f"{pick(1, 12)}:{pick(0, 59):02d}:{pick(0, 59):02d}.{pick(0, 999):03d}",
        lambda: f"IMG_{pick(2000, 2030)}{pick(1, 12):02d}{pick(1, 28):02d}_{pick(0, 235959):06d}",
        lambda: f"EAN {pick(4 * 10**12, 5 * 10**12)}",
        lambda: f"part {pick(10, 99)}-{pick(1000, 9999)}-{pick(10, 99)}",
        lambda: str(UUID(int=draw.getrandbits(128), version=4)),
        lambda: f"00:{draw.getrandbits(8):02x}:{draw.getrandbits(8):02x}:{draw.getrandbits(8):02x}",
        lambda: f"pages {pick(1, 500)}-{pick(501, 999)}, vol. {pick(1, 99)}",
        lambda: f"std::vector<int{pick(8, 64)}_t>::size() == {pick(0, 9999)}",
        lambda: f"founded {pick(1, 28)} May {pick(1800, 2020)}, {pick(10, 99)} % of {pick(1000, 99999)}",
    ]  # fmt: skip
    return [f"The data say {draw.choice(makers)()} and {draw.choice(makers)()}." for _ in range(count)]
