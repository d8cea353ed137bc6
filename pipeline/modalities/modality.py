"""Define what a modality is: a bundle of pure functions that check an item and turn it into arrays of fixed shape.

The functions get bytes and params and return a record or a `Rejection`; they never see a file, a key or another item.
The table of modalities is `pipeline.modalities.table`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pipeline.config.params import Params
from pipeline.privacy.kinds import Kind
from pipeline.tables.drops import Rejection
from shardwright.format.field import Field

if TYPE_CHECKING:
    import numpy as np

Value: TypeAlias = "np.ndarray[Any, Any] | bytes"
"""The value of one field of a sample: an array, or a whole file where the field has an encoding."""

CheckParams = TypeVar("CheckParams", bound=Params)
FeatureParams = TypeVar("FeatureParams", bound=Params)


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """Finds near-duplicates: items are near when few of `bits` differ, and `thumbnail` differs little on average.

    `bits` is an unsigned 64-bit number; `thumbnail` is 256 bytes (16 × 16 uint8), or empty where equal bits suffice.
    """

    bits: int
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Checked:
    """An item that passed its check.

    Attributes:
        data: its bytes without metadata; the same object where nothing changed.
        facts: the columns of the cleaned table that it fills.
        perceptual_hash: of the item.
        redactions: how many passages were redacted of each kind of personal data.
        flaw: what is odd or damaged in it, in at most 40 bytes of ASCII; empty where nothing.
    """

    data: bytes
    facts: Mapping[str, int]
    perceptual_hash: PerceptualHash
    redactions: Mapping[Kind, int] = field(default_factory=dict)
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class MediaItem:
    """The input of `extract`: cleaned bytes, their media type, EXIF orientation (1 where none), and the span to take.

    `start` and `end` are seconds; None for the start or the end of the item. `language` is its code, None if unknown.
    """

    data: bytes
    media_type: str
    orientation: int = 1
    start: float | None = None
    end: float | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class TokenTally:
    """What encoding found in items that it turned into tokens.

    Attributes:
        items: how many.
        cut: those that have more tokens than are stored.
        tokens: the stored tokens of all.
        unknown: those that stand for whatever was not learned.
    """

    items: int = 0
    cut: int = 0
    tokens: int = 0
    unknown: int = 0

    def __add__(self, other: "TokenTally") -> "TokenTally":
        return TokenTally(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Encoded:
    """The arrays of an item's fields, and its tally."""

    arrays: "Mapping[str, np.ndarray[Any, Any]]"
    tally: TokenTally


@dataclass(frozen=True)
class Learning(Generic[FeatureParams]):
    """The functions of a modality whose features depend on the whole training split, by a vocabulary or the like.

    Its `extract` is split in two. The first half, `parse`, takes time and knows nothing of other items: its results are
    cached between runs.

    `name(params)`: the name of the file with what is learned.
    `parse(item, params)`: what the item's features are computed from (the words of a text): JSON.
    `count(parsed, params)`: what one item adds to the counts over the training split.
    `learn(counts, params)`: what is learned from their sum: JSON, saved beside the shards.
    `check_learned(counts, items, learned, params)`: raises `InputError` where what was learned does not fit the
    training split, as `review` does, as far as the counts of so many items tell: before anything is encoded.
    `encode(parsed, params, learned)`: arrays for exactly the planned fields, and the tally.
    `review(training, total, params)`: a note for the summary on the tallies of the training split and of all splits.
    Raises `InputError` where what was learned does not fit the training split.
    `read_frozen(params)`: what was learned before, where the params name it; then nothing is counted. Raises
    `InputError` where the file is not what they name.
    `join(parsed, joiner, params)`: several parsed items as one, with the text `joiner` between them; None where items
    cannot be joined.
    `late`: the params that `parse` does not read: with another value of them nothing is parsed again.

    The cache key of parsed items covers the code of the module that `parse` is in and of all that it imports. So the
    other functions belong into other modules: otherwise an edit in them would parse everything again.
    """

    name: "Callable[[FeatureParams], str]"
    parse: "Callable[[MediaItem, FeatureParams], Any | Rejection]"
    count: "Callable[[Any, FeatureParams], Counter[str]]"
    learn: "Callable[[Mapping[str, int], FeatureParams], Any]"
    check_learned: "Callable[[Mapping[str, int], int, Any, FeatureParams], None]"
    encode: "Callable[[Any, FeatureParams, Any], Encoded | Rejection]"
    review: "Callable[[TokenTally, TokenTally, FeatureParams], str]"
    read_frozen: "Callable[[FeatureParams], Any | None]"
    join: "Callable[[Sequence[Any], str, FeatureParams], Any] | None" = None
    late: tuple[str, ...] = ()


def _reads_no_language(params: Params) -> bool:
    return False


def _describe_nothing(params: Params) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Modality(Generic[CheckParams, FeatureParams]):
    """A bundle of pure functions.

    `check(data, media_type, params)`: decodes an item, checks it, strips its metadata, computes its perceptual hash.
    `plan_fields(params)`: the shard fields that the modality fills, known before any item is read.
    `extract(item, params, learned)`: values for exactly those fields; `learned` is None without `learning`.
    `prepare(params)`: loads libraries, once in the process that workers are forked from; raises `ParamsError` or
    `InputError` before any work if the params cannot be carried out here.
    `check_params`: the type of the params of `check`, the block `clean.<name>`.
    `feature_params`: the type of the params of all others, the block `extract.<name>`.
    `learning`: only where features depend on the whole training split.
    `libraries`: distributions that may change a result though the modality's code does not import them.
    `describe(params)`: the versions, by name, of what else computes features, such as a model that the params name.
    Raises `InputError` where it is missing.
    `reads_language(params)`: whether features depend on the language of an item.
    `content`: the field that holds an item itself, and takes the name of a part that is called otherwise than its
    modality; "" where all fields are features of several kinds.
    `clip`: the key of its feature params with the seconds that items, or their spans, are cut at; an item has `frames`
    samples at `sample_rate`. "" where they are not cut, or their length is not known so.
    """

    name: str
    check: "Callable[[bytes, str, CheckParams], Checked | Rejection]"
    plan_fields: Callable[[FeatureParams], Mapping[str, Field]]
    extract: "Callable[[MediaItem, FeatureParams, Any], Mapping[str, Value] | Rejection]"
    prepare: Callable[[FeatureParams], None]
    check_params: type[CheckParams]
    feature_params: type[FeatureParams]
    learning: Learning[FeatureParams] | None = None
    libraries: tuple[str, ...] = ()
    describe: Callable[[FeatureParams], Mapping[str, str]] = _describe_nothing
    content: str = ""
    clip: str = ""
    reads_language: Callable[[FeatureParams], bool] = _reads_no_language
