"""List the words after which digits are a phone number, in the languages most written on the web."""

_NOUNS = (
    "tel", "tel/fax", "tél", "telephone", "téléphone", "telefon", "telefone", "telefono", "teléfono", "telefoon",
    "telefonnummer", "phone", "phones", "mobile", "mobil", "móvil", "movil", "handy", "cell", "celular", "cellulare",
    "cel", "portable", "fax", "whatsapp", "gsm", "hotline", "telepon", "telp", "ponsel", "komórka", "tlf", "puhelin",
    "điện thoại", "đt", "sđt", "di động", "тел", "телефон", "моб", "мобильный", "факс", "τηλ", "τηλέφωνο", "κινητό",
    "هاتف", "تلفون", "جوال", "موبايل", "تلفن", "موبایل", "טלפון", "נייד", "טל", "फ़ोन", "फोन", "मोबाइल", "दूरभाष",
)  # fmt: skip
"""Between spaces or punctuation."""

_JOINED_NOUNS = (
    "电话", "電話", "手机", "手機", "行動", "传真", "傳真", "热线", "熱線", "联系方式", "联系人", "拨打", "致电",
    "撥打", "携帯", "携帯電話", "ケータイ", "ファックス", "ファクス", "전화", "휴대폰", "휴대전화", "핸드폰", "연락처",
    "팩스", "โทร", "โทรศัพท์", "เบอร์", "มือถือ", "แฟกซ์",
)  # fmt: skip
"""Within letters: in scripts without spaces."""

_NUMBER_WORDS = (
    "no", "nr", "number", "nummer", "num", "número", "numero", "n°", "nº", "№", "номер", "号码", "號碼", "号", "番号",
    "번호",
)  # fmt: skip

_VERBS = ("call", "ring", "dial", "text", "sms", "reach", "contact")
_BETWEEN = ("me", "us", "him", "her", "them", "at", "on", "now", "number", "my", "the")

_COPULAS = ("は", "为", "是", "為")
_MARKS = " .:：(（"

MAX_CHARACTERS = 40
"""Before a number, in which these words are looked for."""


def follows_noun(text: str, end: int) -> bool:
    """Return whether the text up to `end` closes with a word for a phone or its number: `Tel.: `, `手机号码：`."""
    head = text[max(0, end - MAX_CHARACTERS) : end].casefold().rstrip(_MARKS)
    head = _strip_word(head, _COPULAS).rstrip(_MARKS)
    return any(
        each.endswith(_JOINED_NOUNS) or _ends_with_word(each, _NOUNS)
        for each in (head, _strip_word(head, _NUMBER_WORDS).rstrip(_MARKS))
    )


def follows_verb(text: str, end: int) -> bool:
    """Return whether the text up to `end` closes with a request to call: `call me on `."""
    words = text[max(0, end - MAX_CHARACTERS) : end].casefold().rstrip(_MARKS).split(" ")
    while words and words[-1] in _BETWEEN:
        words.pop()
    return bool(words) and _ends_with_word(words[-1], _VERBS)


def _strip_word(text: str, words: tuple[str, ...]) -> str:
    return text.removesuffix(max((word for word in words if text.endswith(word)), key=len, default=""))


def _ends_with_word(text: str, words: tuple[str, ...]) -> bool:
    """Return whether the text ends with one of the words, and not with a longer one."""
    return text.endswith(words) and any(text.endswith(word) and not text[: -len(word)][-1:].isalnum() for word in words)
