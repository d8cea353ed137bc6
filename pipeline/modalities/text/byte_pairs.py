"""Learn byte pair encoding: which pairs of neighbours to join, most frequent first (Sennrich et al., "Neural Machine
Translation of Rare Words with Subword Units", 2016), over bytes as GPT-2 does (Radford et al. 2019, section 2.2).

It is exact, and a function of the counts of different pieces alone: 8,000 tokens of 60,000 different pieces take 6 s
and some 40 MB. The trainer of `tokenizers` takes no counts, only every piece as often as it occurs, and keeps a pair
that comes up again twice in its queue, in an order that its hash maps decide; where that does not happen this one gives
the same merges, and a test compares them.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

from pipeline.modalities.text.params import BYTES, TextFeatures
from pipeline.modalities.text.placeholders import PLACEHOLDERS
from pipeline.modalities.text.token_fields import SPECIAL_WORDS

Pair = tuple[int, int]
"""Two neighbouring tokens, by their indices in the list of tokens."""


def map_bytes() -> list[str]:
    """Return the character for each byte, as in GPT-2: itself where it is printable, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(BYTES)]


ALPHABET = tuple(sorted(map_bytes()))
"""The first tokens, in code-point order, as `tokenizers` numbers them."""


class Pieces:
    """Pieces as lists of tokens, with an index of the pieces that have each pair.

    Attributes:
        pairs: how often each pair occurs in all pieces.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        ids = {char: number for number, char in enumerate(ALPHABET)}
        self._pieces = [[ids[char] for char in piece] for piece in counts]
        self._counts = list(counts.values())
        self._pieces_of: defaultdict[Pair, set[int]] = defaultdict(set)
        self.pairs: Counter[Pair] = Counter()
        for index, (piece, count) in enumerate(zip(self._pieces, self._counts, strict=True)):
            for pair in pairwise(piece):
                self.pairs[pair] += count
                self._pieces_of[pair].add(index)

    def join(self, pair: Pair, token: int) -> Counter[Pair]:
        """Replace each such pair by the token, from left to right; return the change of each pair's count."""
        changes: Counter[Pair] = Counter()
        for index in self._pieces_of.pop(pair):
            piece, count = self._pieces[index], self._counts[index]
            joined = join_pair(piece, pair, token)
            for old in pairwise(piece):
                changes[old] -= count
            for new in pairwise(joined):
                changes[new] += count
                self._pieces_of[new].add(index)
            self._pieces[index] = joined
        for changed, change in changes.items():
            self.pairs[changed] += change
        return changes


def join_pair(piece: Sequence[int], pair: Pair, token: int) -> list[int]:
    """Return the piece with each such pair replaced by the token, from left to right."""
    joined: list[int] = []
    left, right = pair
    at, last = 0, len(piece) - 1
    while at < last:
        if piece[at] == left and piece[at + 1] == right:
            joined.append(token)
            at += 2
        else:
            joined.append(piece[at])
            at += 1
    joined += piece[at:]
    return joined


def learn_merges(counts: Mapping[str, int], tokens: int, min_count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the tokens, and the pairs that are joined to make them, in order.

    The next pair is the most frequent one; of equally frequent ones, that of the earlier tokens. Two pairs may give the
    same string (`a` `aa`, `aa` `a`): they are one token.

    Args:
        counts: how often each piece occurs in the corpus; a character per byte, see `map_bytes`.
        tokens: their largest number, without those of single bytes.
        min_count: a rarer pair is not joined.
    """
    pieces, known = Pieces(counts), list(ALPHABET)
    ids = {token: number for number, token in enumerate(known)}
    queue = [(-count, pair) for pair, count in pieces.pairs.items()]
    heapify(queue)
    merges: list[tuple[str, str]] = []
    while queue and len(known) < BYTES + tokens:
        negative, pair = heappop(queue)
        if -negative != pieces.pairs[pair]:
            continue  # its count changed, and it is queued again with that one
        if -negative < min_count:
            break
        left, right = known[pair[0]], known[pair[1]]
        token = ids.setdefault(left + right, len(known))
        if token == len(known):
            known.append(left + right)
        merges.append((left, right))
        for changed, change in pieces.join(pair, token).items():
            if change and pieces.pairs[changed]:
                heappush(queue, (-pieces.pairs[changed], changed))
    return known, merges


def learn_byte_pairs(counts: Mapping[str, int], params: TextFeatures) -> dict[str, Any]:
    """Return the content of `tokenizer.json`, as `tokenizers.Tokenizer.from_file` reads it.

    0 and 1 are padding and unknown, which no text gives; then come the placeholders, the bytes, and the joined tokens
    in the order in which they were learned. No piece has both letters and other marks, so no token looks like a special
    one.
    """
    known, merges = learn_merges(counts, params.vocabulary - BYTES, params.min_count)
    vocabulary = [*SPECIAL_WORDS, *PLACEHOLDERS, *known]
    bytes_in_texts = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_describe_placeholder(vocabulary.index(name), name) for name in PLACEHOLDERS],
        "normalizer": None,
        "pre_tokenizer": bytes_in_texts,
        "post_processor": None,
        "decoder": bytes_in_texts,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(vocabulary)},
            "merges": [list(pair) for pair in merges],
        },
    }


def _describe_placeholder(number: int, name: str) -> dict[str, Any]:
    """Return a token that is matched before all others. It is not `special`, or decoding would leave it out."""
    found = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"id": number, "content": name, **found}
