"""List the tokenizers that `extract.text.tokenizer` may name.

To add one: its row here, with the function that splits a text; or a `Tokenizer` in a plugin.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from pipeline.modalities.text.params import TextFeatures


def _prepare_nothing(params: "TextFeatures") -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """How texts become tokens. What it is computed from besides texts and params is its code alone.

    Attributes:
        split: returns the tokens of a text in their order, none of them empty, given its language (None where that is
            unknown) and the params. Placeholders are cut out before, and are a token each; tokens are put into lower
            case afterwards, where the params say so. The vocabulary has the most frequent ones. None: texts stay whole,
            and the byte pairs that are learned from them split them.
        join: returns a text that has these tokens.
        prepare: loads what `split` needs; raises `InputError` where that is not installed, naming the settings.
        reads_language: whether `split` reads the language of a text, so that its tokens depend on it.
        as_is: whether texts are left to the file that `frozen` names, with its own rules for cases, its marks of start
            and end, and its unknown token.
    """

    split: "Callable[[str, str | None, TextFeatures], Sequence[str]] | None"
    join: Callable[[Sequence[str]], str] = " ".join
    prepare: "Callable[[TextFeatures], None]" = _prepare_nothing
    reads_language: "Callable[[TextFeatures], bool]" = lambda params: False
    as_is: bool = False


TOKENIZERS: LazyTable[Tokenizer] = LazyTable(
    {
        "words": LazyObject("pipeline.modalities.text.words:WORDS"),
        "bpe": Tokenizer(split=None),
        "file": Tokenizer(split=None, as_is=True),
    },
    LazyObject("pipeline.modalities.text.tokenizer_table:Tokenizer"),
)
