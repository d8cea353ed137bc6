"""Find what follows a cue word: `passport no. …`, `date of birth: …`."""

import re
from collections.abc import Iterable

from pipeline.privacy.letters import SPACED

_NUMBER_WORDS = (
    "number", "no", "nr", "num", "nummer", "numéro", "numero", "número", "numer", "n°", "nº", "№", "номер", "серия",
    "号码", "號碼", "号", "番号", "번호", "เลขที่", "หมายเลข", "số", "رقم", "संख्या", "id", "code",
)  # fmt: skip
_COPULAS = ("is", "ist", "est", "es", "è", "é", "was", "は", "为", "是", "為", "는", "은")
_GAP = r"[ .:：#=,(（'\"_-]{0,3}+"


def compile_cues(words: Iterable[str], value: str, between: Iterable[str] = ()) -> re.Pattern[str]:
    """Return a pattern of one of the words, whose own letters do not go on before it, at most two of the words for a
    number or an equal sign, and the group `value`.

    Args:
        words: in lower case; case does not count. In scripts without spaces they may stand within letters.
        value: a pattern that takes a bounded number of characters.
        between: further words that may stand between them, such as `on`.
    """
    fillers = _join({*_NUMBER_WORDS, *_COPULAS, *between})
    return re.compile(
        rf"(?:(?<![{SPACED}\d]){_join(words)})(?:(?:en?|es|n|s|s?nummer|nr)(?![{SPACED}\d]))?(?:{_GAP}{fillers}(?![{SPACED}])){{0,2}}"
        rf"{_GAP}(?P<value>{value})",
        re.IGNORECASE,
    )


def _join(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))})"
