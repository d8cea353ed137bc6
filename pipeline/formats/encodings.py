"""Decode texts and pages in any encoding, as browsers do: by the WHATWG Encoding Standard's labels, and by the HTML
Standard's order of what says which encoding a page has (section 13.2.3.2).

A label is decoded by the superset that browsers take it for: `gb2312` by gb18030, `latin-1` by windows-1252.
"""

import codecs
import re
from typing import NamedTuple

_LABELS = {
    "utf-8": "utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "utf-16-le": "utf-16 ucs-2 iso-10646-ucs-2 csunicode unicode unicodefeff",
    "utf-16-be": "unicodefffe",
    "cp866": "866 csibm866 ibm866",
    "iso8859-2": "csisolatin2 iso-8859-2 iso-ir-101 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2",
    "iso8859-3": "csisolatin3 iso-8859-3 iso-ir-109 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3",
    "iso8859-4": "csisolatin4 iso-8859-4 iso-ir-110 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4",
    "iso8859-5": "csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso88595 iso_8859-5 iso_8859-5:1988",
    "iso8859-6": "arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e "
    "iso-8859-6-i iso-ir-127 iso88596 iso_8859-6 iso_8859-6:1987",
    "iso8859-7": "csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso88597 iso_8859-7 "
    "iso_8859-7:1987 sun_eu_greek",
    "iso8859-8": "csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso88598 iso_8859-8 "
    "iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical",
    "iso8859-10": "csisolatin6 iso-8859-10 iso-ir-157 iso885910 l6 latin6",
    "iso8859-13": "iso-8859-13 iso885913",
    "iso8859-14": "iso-8859-14 iso885914",
    "iso8859-15": "csisolatin9 iso-8859-15 iso885915 iso_8859-15 l9",
    "iso8859-16": "iso-8859-16",
    "koi8-r": "cskoi8r koi koi8 koi8_r",
    "koi8-u": "koi8-ru",
    "mac-roman": "csmacintosh mac macintosh x-mac-roman",
    "cp874": "dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874",
    "cp1250": "windows-1250 x-cp1250",
    "cp1251": "windows-1251 x-cp1251",
    "cp1252": "ansi_x3.4-1968 ascii csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1 "
    "iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 cp819 x-user-defined",
    "cp1253": "windows-1253 x-cp1253",
    "cp1254": "csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 windows-1254 "
    "x-cp1254",
    "cp1255": "windows-1255 x-cp1255",
    "cp1256": "windows-1256 x-cp1256",
    "cp1257": "windows-1257 x-cp1257",
    "cp1258": "windows-1258 x-cp1258",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "gb18030": "chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk",
    "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5",
    "euc_jp": "cseucpkdfmtjapanese euc-jp x-euc-jp",
    "iso2022_jp": "csiso2022jp iso-2022-jp",
    "cp932": "csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis",
    "cp949": "cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 "
    "windows-949",
}
_CODECS = {label: codec for codec, labels in _LABELS.items() for label in (codec, *labels.split())}
"""Source: WHATWG Encoding Standard, section 4.2. The codecs of Python are those that decode what browsers decode.
Others may raise whatever the error handler (idna), or take the square of the length (punycode)."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
)
"""Browsers do not know UTF-32, text files do; its little-endian mark begins with that of UTF-16."""

_LANGUAGES = {
    **dict.fromkeys(("ar", "fa", "ur"), "cp1256"),
    **dict.fromkeys(("ba", "be", "bg", "kk", "ky", "mk", "ru", "sah", "sr", "tg", "tt", "uk"), "cp1251"),
    **dict.fromkeys(("cs", "hu", "pl", "sk", "sl", "hr", "ro"), "cp1250"),
    **dict.fromkeys(("et", "lt", "lv"), "cp1257"),
    **dict.fromkeys(("az", "ku", "tr"), "cp1254"),
    **{"el": "cp1253", "he": "cp1255", "th": "cp874", "vi": "cp1258"},
    **{"ja": "cp932", "ko": "cp949", "zh": "gb18030"},
}
"""The encoding of old texts in a language, else windows-1252. Source: HTML Standard, section 13.2.3.2, with the Windows
code pages of Central European languages, which Windows programs wrote."""

_GUESSED = [f"cp{page}" for page in (*range(1250, 1259), 874, 932, 949)] + ["koi8_r", "gb18030", "big5hkscs", "euc_jp"]
"""The encodings that a text may be guessed to have: more of them would make more texts ambiguous."""

_LATIN = {"cp1250", "cp1252", "cp1254", "cp1257", "cp1258"}

_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_VALUE = r"\"[^\"]*+\"|'[^']*+'|[^\s>]*+"
_ATTRIBUTES = re.compile(rf"[\s/]*+([^\s/>=]++)(?:\s*+=\s*+({_VALUE}))?+")
_SKIPPED = re.compile(r"<!--.*?(?:-->|\Z)|<\?xml[^>]*?encoding\s*=\s*[\"']([^\"']+)[^>]*>", re.DOTALL)
_TAG = re.compile(rf"<(/?[a-z][^\s/>]*+)((?:[\s/]*+[^\s/>=]++(?:\s*+=\s*+(?:{_VALUE}))?+)*+)", re.IGNORECASE)
_PRESCAN_BYTES = 1024
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

GUESS_BYTES = 1 << 16
"""Of a text, from which its encoding is guessed."""

MAX_CHAOS = 0.2
"""Mess that a guessed decoding may have, by charset_normalizer's measure; its own default."""

MIN_COHERENCE = 0.2
"""Likeness of a guessed decoding to a language, where other encodings are as plausible."""


class Decoded(NamedTuple):
    """A text, and the encoding if that was guessed."""

    text: str
    guessed: str | None = None


def find_codec(label: str) -> str | None:
    """Return Python's codec for an encoding's label; None if the web does not have it."""
    return _CODECS.get(label.strip(" \t\n\f\r").lower())


def read_charset(content_type: str | None) -> str | None:
    """Return the codec that a Content-Type header names; None if it names none that the web has."""
    found = _CHARSET.search(content_type or "")
    return find_codec(found[1]) if found else None


def decode_page(content: bytes, content_type: str | None) -> str:
    """Return the text of a page, decoded by its byte order mark, the header's charset, or its `<meta charset>`; else as
    UTF-8 or windows-1252.

    It never fails: bytes that the encoding does not have become U+FFFD.
    """
    for mark, codec in _BOMS:
        if content.startswith(mark):
            return content.removeprefix(mark).decode(codec, "replace")
    if wide := find_wide(content):
        return content.decode(wide, "replace")
    if declared := read_charset(content_type) or _find_declared(content[:_PRESCAN_BYTES].decode("latin-1")):
        return _decode(content, declared, "replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return _decode(content, "cp1252", "replace")


def find_wide(content: bytes) -> str | None:
    """Return the codec of a text in UTF-16, by its mark or by the first two characters, if these are ASCII; or None."""
    head = content[:4]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    if len(head) < 4:
        return None
    if not (head[1] or head[3]) and head[0] and head[2]:
        return "utf-16-le"
    return "utf-16-be" if not (head[0] or head[2]) and head[1] and head[3] else None


def _find_declared(head: str) -> str | None:
    """Return the codec that the head of a page declares; UTF-16, which it cannot be in, stands for UTF-8."""
    for skipped in _SKIPPED.finditer(head[:_PRESCAN_BYTES]):
        if skipped[1] and skipped.start() == 0 and (codec := find_codec(skipped[1])):
            return _replace_utf16(codec)
    for tag in _TAG.finditer(_SKIPPED.sub(" ", head)):
        if tag[1].lower() != "meta":
            continue
        found: dict[str, str] = {}
        for name, value in _ATTRIBUTES.findall(tag[2]):
            found.setdefault(name.lower(), value.strip("\"'"))
        label = found.get("charset")
        if label is None and found.get("http-equiv", "").lower() == "content-type":
            named = _CHARSET.search(found.get("content", ""))
            label = named[1] if named else None
        if label is not None and (codec := find_codec(label)):
            return _replace_utf16(codec)
    return None


def _replace_utf16(codec: str) -> str:
    return "utf-8" if codec.startswith("utf-16") else codec


def _decode(content: bytes, codec: str, errors: str) -> str:
    if codec == "cp1252":
        return content.decode("latin-1").translate(_WINDOWS_1252)
    return content.decode(codec, errors)


def _map_windows_1252() -> dict[int, str]:
    """Return the characters of 0x80 to 0x9F; the five that Windows leaves out stay controls, as on the web."""
    pairs = ((byte, bytes([byte]).decode("cp1252", "ignore")) for byte in range(0x80, 0xA0))
    return {byte: char for byte, char in pairs if char}


_WINDOWS_1252 = _map_windows_1252()


def decode_text(content: bytes, content_type: str | None = None, language: str = "en") -> Decoded | None:
    """Return the text of a file, decoded by its byte order mark, as UTF-8, by the header's charset, or by a guess.

    A guess is the usual encoding of old texts in `language` where it is as plausible as any other, else the one that
    stands out. None where none does, or the bytes are not text in the encoding that the mark names. What C and DOS
    programs write after a text, NUL and Ctrl-Z, is left out.
    """
    for mark, codec in _BOMS:
        if content.startswith(mark):
            wide = _try(content.removeprefix(mark), codec)
            return None if wide is None or _CONTROLS.search(wide.text) else wide
    if decoded := _try(content, "utf-8"):
        return decoded
    declared = read_charset(content_type)
    if declared and (decoded := _try(content, declared)):
        return decoded
    guessed = guess_codec(content, language)
    decoded = _try(content, guessed) if guessed else None
    return decoded._replace(guessed=guessed) if decoded else None


def find_mark(head: bytes) -> str | None:
    """Return the codec whose byte order mark a text begins with."""
    return next((codec for mark, codec in _BOMS if head.startswith(mark)), None)


def guess_codec(content: bytes, language: str) -> str | None:
    """Return the codec of bytes that are not UTF-8, by a guess; see `decode_text`."""
    return _guess(content[:GUESS_BYTES], _LANGUAGES.get(language.lower().split("-")[0], "cp1252"))


def _try(content: bytes, codec: str) -> Decoded | None:
    try:
        return Decoded(content.decode(codec).rstrip("\0\x1a"))
    except UnicodeDecodeError:
        return None


def _guess(head: bytes, expected: str) -> str | None:
    """Return the codec by what charset_normalizer finds plausible in the whole lines of `head`."""
    from charset_normalizer import from_bytes

    matches = from_bytes(head[: head.rfind(b"\n") + 1] or head, cp_isolation=_GUESSED, threshold=MAX_CHAOS)
    best = matches.best()
    if best is None:
        return None
    plausible = {name for each in matches if each.chaos <= best.chaos for name in each.could_be_from_charset}
    if expected in plausible and _fits(head, expected):
        return expected
    stands_out = len(matches) == 1 or best.coherence >= MIN_COHERENCE
    return best.encoding if stands_out and _fits(head, best.encoding) else None


def _fits(head: bytes, codec: str) -> bool:
    """Return whether a text has enough ASCII letters for its script: Latin texts have mostly these."""
    letters = sum(chr(byte).isalpha() for byte in head if byte < 0x80)
    return codec not in _LATIN or 2 * letters >= sum(byte >= 0x80 for byte in head)
