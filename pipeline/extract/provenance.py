"""Record where a dataset comes from: sources, licences, code and libraries."""

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
"""Source, licence and attribution; "" if unknown."""


def count_terms(samples: Iterable[AlignedSample]) -> Counter[Terms]:
    """Count the samples that use an item under each source, licence and attribution."""
    counts: Counter[Terms] = Counter()
    for sample in samples:
        counts.update({_read_terms(part.origin) for part in sample.parts.values()})
    return counts


def _read_terms(origin: Mapping[str, str]) -> Terms:
    return origin.get("source", ""), origin.get("licence", ""), origin.get("attribution", "")


def list_sources(counts: Mapping[Terms, int]) -> tuple[Source, ...]:
    """Return the counts as the manifest's sorted sources."""
    return tuple(Source(*terms, samples=count) for terms, count in sorted(counts.items()))


def describe_build(params: ExtractParams, dataset: str, used: Iterable[str]) -> dict[str, Any]:
    """Build `extract_record.json` for the dataset with this hash and the modalities `used`.

    It holds no clock and no host name: two runs record the same.
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
