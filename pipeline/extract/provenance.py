"""Record where a dataset comes from: sources, licences, code and libraries."""

import platform
from collections.abc import Iterable
from typing import Any

from pipeline.config.plugins import find_module, find_plugins
from pipeline.extract.item_keys import ItemKeys
from pipeline.extract.params import ExtractParams
from pipeline.incremental.library_versions import describe_environment, describe_machine
from pipeline.incremental.module_sources import hash_source
from pipeline.modalities.table import MODALITIES
from pipeline.tables.database import Database
from shardwright.format.manifest import Source


def list_sources(database: Database, keys: ItemKeys) -> tuple[Source, ...]:
    """Count the samples that were kept and use an item under each source, licence and attribution ("" if unknown)."""
    rows = database.fetch(
        """
        SELECT term, count(*) FROM (
            SELECT DISTINCT sample, find_term(item) AS term
            FROM located ANTI JOIN (SELECT sample FROM usable SEMI JOIN dropped USING (key)) USING (sample)
        )
        GROUP BY term
        """
    )
    terms = keys.terms
    found = [(*(text or "" for text in terms[number]), samples) for number, samples in rows]
    return tuple(Source(*each) for each in sorted(found))


def describe_build(params: ExtractParams, dataset: str, used: Iterable[str]) -> dict[str, Any]:
    """Build `extract_record.json` for the dataset with this hash and the modalities `used`.

    It holds no clock, no host name and no processor type: two runs record the same.
    """
    environment = describe_features(params, used)
    return {
        "dataset": dataset,
        "params": params.model_dump(mode="json"),
        "source": hash_source("stages.extract"),
        "plugins": {name: hash_source(find_module(name)) for name in find_plugins(params.model_dump(mode="json"))},
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
