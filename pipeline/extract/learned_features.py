"""Encode the parsed items of a shard with what was learned: one by one, or those of a part joined to one."""

from collections.abc import Mapping, Sequence

from pipeline.extract.extractor import Extractor, Recipe, read_learned
from pipeline.extract.feature_entry import check_arrays, decode_parsed, encode_arrays, shorten_text
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.learn_vocabulary import find_learning, join_parsed
from pipeline.extract.samples import SamplePart
from pipeline.modalities.modality import TokenTally
from pipeline.tables.drops import Rejection


class LearnedFeatures:
    """Encodes parsed items, and keeps the contents of their members.

    Args:
        recipe: what all shards share.
        extractors: of each modality.
        reader: of parsed items.
    """

    def __init__(self, recipe: Recipe, extractors: Mapping[str, Extractor], reader: FeatureReader) -> None:
        self._recipe = recipe
        self._extractors = extractors
        self._reader = reader
        self._encoded: dict[tuple[str, ...], list[bytes]] = {}
        self._tallies: dict[tuple[str, ...], TokenTally] = {}

    def encode(self, items: Sequence[SamplePart]) -> str | Rejection:
        """Encode the items of one feature, and return its text for the meta; or the first rejection of an item."""
        plan, part = self._recipe.plan, items[0].name
        extractor, joiner = self._extractors[plan.modalities[part]], plan.joiners.get(part, "")
        parsed, texts, vectors = [], [], list[bytes]()
        for item in items:
            entry = self._reader.read(extractor, item)
            if isinstance(entry, Rejection):
                return entry
            parsed.append(decode_parsed(entry.pieces))
            texts.append(entry.pieces[1].decode())
            vectors += map(bytes, entry.pieces[2:])
        learned = self._recipe.learned
        assert learned is not None
        joined = join_parsed(extractor, parsed, joiner)
        encoded = find_learning(extractor.modality).encode(joined, extractor.params, read_learned(learned))
        if isinstance(encoded, Rejection):
            return encoded
        own = dict(list(extractor.fields.items())[: len(extractor.fields) - len(vectors)])  # the last is the vector
        checked = check_arrays(encoded.arrays, own)
        if isinstance(checked, Rejection):
            return checked
        self._encoded[_identify(items)] = encode_arrays(checked, own) + vectors
        self._tallies[_identify(items)] = encoded.tally
        return shorten_text(joiner.join(texts).encode()).decode()

    def find(self, items: Sequence[SamplePart]) -> Sequence[bytes] | None:
        """Return the contents of a feature's members; None if it was not encoded."""
        return self._encoded.get(_identify(items))

    def find_tally(self, items: Sequence[SamplePart]) -> TokenTally:
        """Return the tally of a feature, an empty one if it was not encoded."""
        return self._tallies.get(_identify(items), TokenTally())


def _identify(items: Sequence[SamplePart]) -> tuple[str, ...]:
    return (items[0].name, *(item.key.hex() for item in items))
