"""Encode texts with a `tokenizer.json` of the package `tokenizers`, count their pieces, and check frozen files.

Texts are encoded one by one, which starts no thread.
"""

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.modalities.modality import Encoded
from pipeline.modalities.text.byte_pairs import map_bytes
from pipeline.modalities.text.frozen_file import check_room, read_frozen_file
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.placeholders import PLACEHOLDERS, split_placeholders
from pipeline.modalities.text.token_fields import fill_tokens
from pipeline.modalities.text.tokenizer_document import find_unknown, number_tokens
from pipeline.modalities.text.tokenizer_table import TOKENIZERS
from shardwright.format.canonical_json import decode_json, encode_canonical

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import ByteLevel

MAX_PIECE = 128
"""Bytes. Longer pieces are cut for learning, whose time grows with their length for each pair in them: no word is that
long, but a line of base64 is."""


def count_pieces(text: str, params: TextFeatures) -> Counter[str]:
    """Count the pieces of a text outside of placeholders; a character per byte, see `byte_pairs.map_bytes`."""
    splitter = _make_splitter()
    counts: Counter[str] = Counter()
    for part in split_placeholders(text):
        if part not in PLACEHOLDERS:
            for piece, _ in splitter.pre_tokenize_str(part):
                counts.update(piece[start : start + MAX_PIECE] for start in range(0, len(piece), MAX_PIECE))
    return counts


@cache
def _make_splitter() -> "ByteLevel":
    from tokenizers.pre_tokenizers import ByteLevel

    return ByteLevel(add_prefix_space=False, use_regex=True)


def encode_text(text: str, params: TextFeatures, learned: dict[str, Any]) -> Encoded:
    """Return `tokens` and `tokens_length`: the ids of the file's tokenizer, without marks of start and end, unless
    texts are left to it: then a text that is cut has them too."""
    tokenizer = _open_tokenizer(learned)
    if not TOKENIZERS[params.tokenizer].as_is:
        return fill_tokens(tokenizer.encode(text, add_special_tokens=False).ids, params)
    tokenizer.enable_truncation(params.length)
    encoding = tokenizer.encode(text)
    tokenizer.no_truncation()
    encoded = fill_tokens(encoding.ids, params, find_unknown(learned))
    return replace(encoded, tally=replace(encoded.tally, cut=bool(encoding.overflowing)))


_opened: "tuple[dict[str, Any], Tokenizer] | None" = None


def _open_tokenizer(learned: dict[str, Any]) -> "Tokenizer":
    """Return the tokenizer of a document. The last one is cached with its document, which `is` compares."""
    global _opened
    if _opened is None or _opened[0] is not learned:
        _opened = (learned, load_tokenizer_file(learned))
    return _opened[1]


def load_tokenizer_file(document: dict[str, Any]) -> "Tokenizer":
    """Return the tokenizer that a `tokenizer.json` describes; it cuts and pads nothing.

    Raises:
        Exception: it describes none; `tokenizers` has no error of its own.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(encode_canonical(document))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tokenizer(params: TextFeatures) -> dict[str, Any] | None:
    """Return the tokenizer that `params.frozen` names, as today's `tokenizers` writes it; None where it names none.

    Its ids stay: 0 after the end of a text is padding, though it may be a token elsewhere.

    Raises:
        InputError: the file is missing, has another sha256, holds no tokenizer, or no byte-level BPE where texts are
            not left to it, has more marks than `length` tokens, or ids too large for `dtype`; the message names the
            setting and what is wrong.
    """
    if params.frozen is None:
        return None
    document, as_is = read_frozen_file(params.frozen), TOKENIZERS[params.tokenizer].as_is
    fault = find_fault(document) or (None if as_is else find_unlike_bytes(document))
    if fault:
        kind = "" if as_is else " with a byte-level BPE"
        raise InputError(f"extract.text.frozen.path is {params.frozen.path}, which is no tokenizer.json{kind}: {fault}")
    tokenizer = load_tokenizer_file(document)
    if as_is and (marks := tokenizer.num_special_tokens_to_add(is_pair=False)) >= params.length:
        raise InputError(
            f"extract.text.length is {params.length}; it must be over {marks}, the marks of {params.frozen.path}"
        )
    found: dict[str, Any] = decode_json(tokenizer.to_str().encode())
    check_room(max(list_ids(found)), params)
    return found


def find_fault(document: Any) -> str | None:
    """Return why a JSON value is not a tokenizer that gives the same ids each time; None if it is one."""
    if not isinstance(document, dict) or not isinstance(model := document.get("model"), dict):
        return "it is no tokenizer.json"
    if model.get("dropout"):
        return f"it has a dropout of {model['dropout']!r:.40}, so that a text has other ids each time"
    try:
        load_tokenizer_file(document)
    except Exception as error:  # it has no other class
        return f"tokenizers says: {error}"
    return None


def find_unlike_bytes(document: dict[str, Any]) -> str | None:
    """Return why a tokenizer is not a byte-level BPE, which encodes any text; None if it is one."""
    model = document["model"]
    if model.get("type", "BPE") != "BPE" or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        return f"its model is of the type {model.get('type')!r:.40}"
    if not {"ByteLevel"} <= _list_types(document.get("pre_tokenizer")) & _list_types(document.get("decoder")):
        return "its pre_tokenizer and its decoder are not both ByteLevel"
    if absent := [byte for byte, char in enumerate(map_bytes()) if char not in model["vocab"]]:
        return f"it has no token for the byte {absent[0]:#04x}"
    return None


def _list_types(part: Any) -> set[str]:
    """Return the types of a part of a tokenizer, which may be a sequence of parts."""
    if not isinstance(part, dict):
        return set()
    members = [*part.get("pretokenizers", []), *part.get("decoders", [])]
    return {str(part.get("type"))}.union(*map(_list_types, members))


def list_ids(document: dict[str, Any]) -> set[int]:
    """Return the ids of all tokens."""
    return {*number_tokens(document).values(), *(token["id"] for token in document["added_tokens"])}
