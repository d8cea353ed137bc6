"""Where a dataset comes from: its sources and licences, and the code and libraries that made it."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from pipeline.cache.module_sources import hash_source
from pipeline.extract.aligned_samples import AlignedSample
from pipeline.extract.params import ExtractParams
from pipeline.modalities.table import MODALITIES
from shardwright.format.manifest import Source

LIBRARIES = (
    "av",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "soundfile",
    "soxr",
    "spacy",
    "tokenizers",
)
"""Distributions whose version can change a byte of a shard: what the modalities import."""


Terms = tuple[str, str, str]
"""Source, licence and attribution; "" where unknown."""


def count_terms(samples: Iterable[AlignedSample]) -> Counter[Terms]:
    """How many samples use something under each terms."""
    counts: Counter[Terms] = Counter()
    for sample in samples:
        counts.update({_read_terms(part.origin) for part in sample.parts.values()})
    return counts


def _read_terms(origin: Mapping[str, str]) -> Terms:
    return origin.get("source", ""), origin.get("licence", ""), origin.get("attribution", "")


def list_sources(counts: Mapping[Terms, int]) -> tuple[Source, ...]:
    """The same for the manifest, sorted."""
    return tuple(Source(*terms, samples=count) for terms, count in sorted(counts.items()))


def describe_making(params: ExtractParams, dataset: str, used: Iterable[str]) -> dict[str, Any]:
    """`extract_record.json`: what made the dataset whose hash is given, of the modalities `used`.

    No clock and no host: two runs say the same.
    """
    models = [MODALITIES[name].describe(getattr(params, name)) for name in used]
    return {
        "dataset": dataset,
        "params": params.model_dump(mode="json"),
        "source": hash_source("stages.extract"),
        "python": platform.python_version(),
        "libraries": read_versions() | {name: version for model in models for name, version in model.items()},
    }


def read_versions() -> dict[str, str]:
    """The versions of those of `LIBRARIES` that are installed."""
    installed = {}
    for name in LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # OpenCV comes under several names
    return installed
