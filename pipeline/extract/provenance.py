"""Record where a dataset comes from: sources, licences, code and libraries."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.incremental.library_versions import describe_environment, describe_machine
from pipeline.incremental.module_sources import hash_source
from pipeline.extract.aligned_samples import AlignedSample
from pipeline.extract.params import ExtractParams
from pipeline.modalities.table import MODALITIES
from shardwright.format.manifest import Source

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

    It holds no clock, no host name and no processor type: two runs record the same.
    """
    environment = describe_features(params, used)
    return {
        "dataset": dataset,
        "params": params.model_dump(mode="json"),
        "source": hash_source("stages.extract"),
        "python": platform.python_version(),
        "libraries": {name: environment[name] for name in environment.keys() - describe_machine().keys()},
    }


def describe_features(params: ExtractParams, used: Iterable[str]) -> dict[str, str]:
    """Return by name what this stage's results depend on besides its code, see `describe_environment`, and the versions
    of models that the params of the modalities `used` name.

    Raises:
        InputError: such a model is not installed here.
    """
    libraries = [name for each in MODALITIES.values() for name in each.libraries]
    models = [MODALITIES[name].describe(params.features[name]) for name in used]
    versions = {name: version for model in models for name, version in model.items()}
    return describe_environment(["stages.extract"], libraries) | versions
