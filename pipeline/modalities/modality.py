"""What a modality has to know: how to check an item, and how to turn it into arrays of fixed shape.

A modality is one file in this folder and one line in `MODALITIES`. Its functions are pure: bytes and params in, a
record or a `Rejection` out; they never see a file, a key or another item.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from pipeline.config.params import Params
from pipeline.tables.drops import Rejection
from shardwright.format.field import Field

if TYPE_CHECKING:
    import numpy as np

Value: TypeAlias = "np.ndarray[Any, Any] | bytes"
"""Of one field of a sample: an array, or a whole file where the field has an encoding."""

CheckParams = TypeVar("CheckParams", bound=Params)
FeatureParams = TypeVar("FeatureParams", bound=Params)


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """For near-duplicates: items are near when `bits` differ in few places and `thumbnail` by little on average.

    `bits` is an unsigned 64-bit number; `thumbnail` is 256 bytes (16 × 16 uint8), or empty where equal bits suffice.
    """

    bits: int
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Checked:
    """An item that is fit for use: its bytes without metadata (the same object where nothing changed), the columns
    of the cleaned table that it fills, its fingerprint, and how many passages were redacted."""

    data: bytes
    facts: Mapping[str, int]
    fingerprint: PerceptualHash
    redactions: int = 0


@dataclass(frozen=True, slots=True)
class MediaItem:
    """What `extract` gets: cleaned bytes, their type, EXIF orientation (1 where none), and the seconds to take."""

    data: bytes
    media_type: str
    orientation: int = 1
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Learning(Generic[FeatureParams]):
    """For a modality whose features depend on the whole training split, by way of a vocabulary or the like.

    Its `extract` falls into two halves, and the first, which takes time and knows nothing of the other items, is kept
    between runs:

    `name(params)`: the name of the file with what is learned.
    `parse(item, params)`: what of an item its features are made of (the words of a text): JSON.
    `count(parsed, params)`: what one item adds to the counts over the training split.
    `learn(counts, params)`: what is learned from their sum: JSON, saved beside the shards.
    `encode(parsed, params, learned)`: arrays for exactly the planned fields.
    `read_frozen(params)`: what was learned before, where the params name it; then nothing is counted. Raises
    `InputError` where it is not what they name.
    `late`: the params that `parse` does not look at: another value of them parses nothing anew.

    What is parsed is known by the code of the module that `parse` is in, and of all that this one imports. So the other
    functions belong elsewhere: else an edit in them parses everything anew.
    """

    name: "Callable[[FeatureParams], str]"
    parse: "Callable[[MediaItem, FeatureParams], Any | Rejection]"
    count: "Callable[[Any, FeatureParams], Counter[str]]"
    learn: "Callable[[Mapping[str, int], FeatureParams], Any]"
    encode: "Callable[[Any, FeatureParams, Any], Mapping[str, Value] | Rejection]"
    read_frozen: "Callable[[FeatureParams], Any | None]"
    late: tuple[str, ...] = ()


def _describe_nothing(params: Params) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Modality(Generic[CheckParams, FeatureParams]):
    """A bundle of pure functions.

    `check(data, media_type, params)`: decode, judge, strip, describe.
    `plan_fields(params)`: the shard fields that the modality gives, known before any item is read.
    `extract(item, params, learned)`: values for exactly those fields; `learned` is None without `learning`.
    `check_params`: the type of the params of `check`, the block `clean.<name>`.
    `feature_params`: the type of the params of all others, the block `extract.<name>`.
    `prepare(params)`: raises `ParamsError` or `InputError` before any work if the params cannot be carried out here.
    `learning`: only where features depend on the whole training split.
    `libraries`: distributions that may change a feature though the modality's code does not import them.
    `describe(params)`: the versions, by name, of what else computes features, such as a model that the params name.
    Raises `InputError` where it is missing.
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
