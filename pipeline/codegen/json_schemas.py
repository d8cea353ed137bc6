"""Write JSON Schemas of `params.yaml` and of all that crosses a stage boundary, from the types: `make generated`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, create_model

from pipeline.codegen.supplement_schemas import PROBABILITY_SUPPLEMENTS, SUPPLEMENTS, Count, Document, Score
from pipeline.config.check_params import BLOCKS, load_block_type
from pipeline.config.field_docs import describe_fields
from pipeline.config.params import Params
from pipeline.extract.params import ExtractParams
from pipeline.tables.columns import Columns, ColumnType
from pipeline.tables.contracts import SPLITS, TABLES
from pipeline.tasks.generation.report import FLOOR_TITLES
from pipeline.tasks.generation.report import SCORE_TITLES as TOKEN_TITLES
from pipeline.tasks.generation.report import TITLES as TEXT_TITLES
from pipeline.tasks.masked_words_report import SCORE_TITLES as WORD_TITLES
from pipeline.tasks.metrics.ranks import name_scores
from pipeline.tasks.metrics.table import CLASS_METRICS, SCORES
from pipeline.tasks.regression_report import TITLES as REGRESSION_TITLES
from pipeline.tasks.report_blocks import FLOOR
from pipeline.tasks.retrieval_report import CHANCE, CLASS_RECALL, INTERVALS
from pipeline.tasks.table import TASKS
from pipeline.tasks.tag_report import SCORE_TITLES, THRESHOLD_METRICS
from pipeline.tasks.tag_report import TITLES as TAG_TITLES

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
NonNegative = Annotated[float, Field(ge=0)]
Schema = dict[str, Any]


class ExtractRecord(Document):
    """`5_extract/extract_record.json`: what made the dataset, see `pipeline.extract.provenance`."""

    dataset: Sha256
    params: ExtractParams
    source: Sha256
    plugins: dict[str, Sha256]
    python: str
    libraries: dict[str, str]


class VocabularyFile(Document):
    """`5_shards/vocabulary.json`: the words that token ids count through, see `pipeline.modalities.text.modality`."""

    words: Annotated[list[str], Field(min_length=2)]


class BytePairs(BaseModel):
    """A BPE model of the package `tokenizers`, which knows what its other keys mean."""

    type: Literal["BPE"]
    vocab: dict[str, Count]
    merges: list[tuple[str, str] | str]


class OtherModel(BaseModel):
    """Another model of the package `tokenizers`."""

    type: Literal["WordPiece", "WordLevel", "Unigram"]
    vocab: dict[str, Count] | list[tuple[str, float]]


class TokenizerFile(Document):
    """`5_shards/tokenizer.json`, in place of `vocabulary.json` where tokens are byte pairs, or those of somebody else's
    file: what `tokenizers.Tokenizer.from_file` reads, see `pipeline.modalities.text.tokenizer_file`."""

    version: str
    truncation: Any
    padding: Any
    added_tokens: list[dict[str, Any]]
    normalizer: Any
    pre_tokenizer: dict[str, Any] | None
    post_processor: Any
    decoder: dict[str, Any] | None
    model: BytePairs | OtherModel


def build_document_schemas() -> dict[str, Schema]:
    """Return the schema of each file, by the file's name without its ending."""
    describe_fields(ExtractRecord)
    return {
        "dataset": build_manifest_schema(),
        "extract_record": ExtractRecord.model_json_schema(mode="serialization"),
        "metrics": build_metrics_schema(),
        "metrics_generation": build_generation_schema(),
        "metrics_masked_words": build_masked_words_schema(),
        "metrics_regression": build_regression_schema(),
        "metrics_retrieval": build_retrieval_schema(),
        "metrics_tags": build_tags_schema(),
        "model": build_model_schema(),
        "tokenizer": TokenizerFile.model_json_schema(),
        "vocabulary": VocabularyFile.model_json_schema(),
    }


def build_manifest_schema() -> Schema:
    """Return the schema of `5_shards/dataset.json`: the manifest, with the keys that `to_json` adds."""
    from shardwright.format.manifest import FORMAT, VERSIONS, Manifest

    schema = build_record_schema(Manifest)
    require(schema["$defs"]["Field"], name={"type": "string"})
    require(schema["$defs"]["Split"], samples={"type": "integer", "minimum": 0})
    schema["properties"]["fields"] = {"type": "array", "items": {"$ref": "#/$defs/Field"}, "minItems": 1}
    schema["properties"]["sources_hash"] = describe_sha256()
    require(schema, format={"const": FORMAT}, version={"enum": list(VERSIONS)}, hash=describe_sha256())
    return schema


def build_metrics_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of a classifier, see `measure_classes`: its scores are those of the
    tables."""
    headlines = TASKS["classification"].scores
    facts: dict[str, Any] = {"split": (Literal[SPLITS], ...), "samples": (Count, ...)}
    scores: dict[str, Any] = dict.fromkeys(SCORES, (Score, ...))
    of_class: dict[str, Any] = dict.fromkeys(CLASS_METRICS, (Score, ...))
    counts: dict[str, Any] = dict.fromkeys(("support", "predicted"), (Count, ...))
    class_scores: Any = create_model("ClassScores", __base__=Document, **of_class, **counts)
    class_scores.__doc__ = "Scores of one class; null where a score is not defined."
    of_subset = {name: scores[name] for name in headlines}
    subset_scores: Any = create_model("SubsetScores", __base__=Document, **of_subset)
    subset_scores.__doc__ = "Scores with one subset of the parts."
    metrics = create_model(
        "Metrics",
        __base__=Document,
        **facts,
        **scores,
        **describe_intervals(headlines),
        subsets=(dict[str, subset_scores], ...),
        per_class=(dict[str, class_scores], ...),
        absent=(list[str], ...),
        undefined=(dict[str, str], ...),
        **PROBABILITY_SUPPLEMENTS,
        **SUPPLEMENTS,
    )
    metrics.__doc__ = "`7_report/metrics.json`, see `pipeline.tasks.class_report.measure_classes`."
    return metrics.model_json_schema()


def describe_intervals(names: Iterable[str], end: Any = Score) -> dict[str, Any]:
    """Return the fields of the ends of the intervals of scores, and of the number of groups that were resampled."""
    ends = {f"{name}_{side}": (end, ...) for name in names for side in ("low", "high")}
    return {**ends, "groups": (Count, ...)}


def build_regression_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of a regression."""
    number: Any = (float | None, ...)
    names = [*REGRESSION_TITLES, *(FLOOR + name for name in REGRESSION_TITLES)]
    subset: Any = create_model("RegressionSubset", __base__=Document, mae=number, r2=number)
    subset.__doc__ = "Scores with one subset of the parts."
    facts: dict[str, Any] = {"split": (Literal[SPLITS], ...), "samples": (Count, ...), **dict.fromkeys(names, number)}
    metrics = create_model(
        "RegressionMetrics",
        __base__=Document,
        **facts,
        **describe_intervals(("mae", "rmse", "r2"), float | None),
        subsets=(dict[str, subset], ...),
        undefined=(dict[str, str], ...),
        **SUPPLEMENTS,
    )
    metrics.__doc__ = "`7_report/metrics.json` of a regression, see `pipeline.tasks.regression_report.measure`."
    return metrics.model_json_schema()


def build_masked_words_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of masked words."""
    names = [*WORD_TITLES, *(FLOOR + name for name in WORD_TITLES)]
    facts: dict[str, Any] = {
        "split": (Literal[SPLITS], ...),
        **dict.fromkeys(("samples", "masked"), (Count, ...)),
        **dict.fromkeys(names, (Score, ...)),
    }
    metrics = create_model(
        "MaskedWordsMetrics",
        __base__=Document,
        **facts,
        **describe_intervals(WORD_TITLES),
        undefined=(dict[str, str], ...),
        own=(dict[str, Score], {}),
    )
    metrics.__doc__ = "`7_report/metrics.json` of masked words, see `pipeline.tasks.masked_words_report.measure`."
    return metrics.model_json_schema()


def build_tags_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of the tasks `binary` and `multi_label`."""
    of_tag: dict[str, Any] = dict.fromkeys((*CLASS_METRICS, *THRESHOLD_METRICS), (Score, ...))
    counts: dict[str, Any] = dict.fromkeys(("support", "predicted"), (Count, ...))
    tag: Any = create_model("TagScores", __base__=Document, **of_tag, **counts)
    tag.__doc__ = "Scores of one tag; null where a score is not defined."
    of_subset: dict[str, Any] = dict.fromkeys(SCORE_TITLES, (Score, ...))
    subset: Any = create_model("TagSubset", __base__=Document, **of_subset)
    subset.__doc__ = "Scores with one subset of the parts."
    facts: dict[str, Any] = {"split": (Literal[SPLITS], ...), "samples": (Count, ...)}
    scores: dict[str, Any] = dict.fromkeys((*TAG_TITLES, *(FLOOR + name for name in TAG_TITLES)), (Score, ...))
    metrics = create_model(
        "TagMetrics",
        __base__=Document,
        **facts,
        **scores,
        **describe_intervals(SCORE_TITLES),
        subsets=(dict[str, subset], ...),
        per_class=(dict[str, tag], ...),
        undefined=(dict[str, str], ...),
        **{name: field for name, field in PROBABILITY_SUPPLEMENTS.items() if name not in scores},
        **SUPPLEMENTS,
    )
    metrics.__doc__ = "`7_report/metrics.json` of `binary` and `multi_label`, see `pipeline.tasks.tag_report.measure`."
    return metrics.model_json_schema()


def build_retrieval_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of a retrieval."""
    scores: dict[str, Any] = {
        prefix + name: (NonNegative | None, None if name == CLASS_RECALL else ...)
        for name in (*name_scores(), CLASS_RECALL)
        for prefix in ("", CHANCE)
    }
    facts: dict[str, Any] = {"split": (Literal[SPLITS], ...), "samples": (Count, ...)}
    direction: Any = create_model("Direction", __base__=Document, samples=(Count, ...), **scores)
    direction.__doc__ = "A search with one part for another, each score beside its value of chance."
    metrics = create_model(
        "RetrievalMetrics",
        __base__=Document,
        **facts,
        **scores,
        **describe_intervals(INTERVALS),
        directions=(dict[str, direction], ...),
        undefined=(dict[str, str], ...),
        **SUPPLEMENTS,
    )
    metrics.__doc__ = "`7_report/metrics.json` of a retrieval, see `pipeline.tasks.retrieval_report.measure`."
    return metrics.model_json_schema()


def build_generation_schema() -> Schema:
    """Return the schema of `7_report/metrics.json` of a generation."""
    names = [*TEXT_TITLES, *(f"{kind}_{name}" for name in TEXT_TITLES for kind in FLOOR_TITLES if kind != "class")]
    numbers: dict[str, Any] = {
        **dict.fromkeys((*names, "perplexity"), (NonNegative | None, ...)),
        **dict.fromkeys((f"class_{name}" for name in TEXT_TITLES), (NonNegative | None, None)),
    }
    of_subset: dict[str, Any] = dict.fromkeys(TOKEN_TITLES, (Score, ...))
    subset: Any = create_model("GenerationSubset", __base__=Document, **of_subset)
    subset.__doc__ = "Scores of the true tokens with one subset of the parts."
    facts: dict[str, Any] = {"split": (Literal[SPLITS], ...), "samples": (Count, ...), "measured": (Count, ...)}
    metrics = create_model(
        "GenerationMetrics",
        __base__=Document,
        **facts,
        **numbers,
        **describe_intervals(["bleu"], NonNegative | None),
        token_probability=(Score, ...),
        constant_text=(str | None, ...),
        settings=(str, ...),
        subsets=(dict[str, subset], ...),
        undefined=(dict[str, str], ...),
        **SUPPLEMENTS,
    )
    metrics.__doc__ = "`7_report/metrics.json` of a generation, see `pipeline.tasks.generation.report.measure`."
    return metrics.model_json_schema()


def build_model_schema() -> Schema:
    """Return the schema of `6_model/model.json`: the record, with the keys that `write_record` adds."""
    from pipeline.models.record import FORMAT, VERSION, ModelRecord

    schema = build_record_schema(ModelRecord)
    require(schema, format={"const": FORMAT}, version={"const": VERSION}, hash=describe_sha256())
    return schema


def build_record_schema(kind: type) -> Schema:
    """Return the schema of a dataclass as JSON, without unknown keys; docstrings' first paragraphs describe it."""
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    for part in (schema, *schema["$defs"].values()):
        part["additionalProperties"] = False
        part["description"] = part["description"].split("\n\n")[0]
    return schema


def require(schema: Schema, **properties: Schema) -> None:
    """Add required keys."""
    schema["properties"] |= properties
    schema["required"] += list(properties)


def describe_sha256() -> Schema:
    """Return the schema of a sha256: 64 hex digits."""
    return TypeAdapter(Sha256).json_schema()


DRAFT = "https://json-schema.org/draft/2020-12/schema"
COLUMN_SCHEMAS: dict[str, Schema] = {
    "string": {"type": "string"},
    "int64": {"type": "integer"},
    "uint64": {"type": "integer", "minimum": 0},
    "float64": {"type": "number"},
    "bool": {"type": "boolean"},
    "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
"""By type: a hash is 32 bytes in the file, 64 hex digits in JSON."""


def build_params_schema() -> dict[str, Any]:
    """Return the schema of a whole params file."""
    types = {name: load_block_type(name) for name in BLOCKS}
    blocks: dict[str, Any] = {name: (kind, Field(default_factory=kind)) for name, kind in types.items()}
    for kind in types.values():
        describe_fields(kind)
    whole = create_model("ParamsFile", __base__=Params, **blocks)
    return {"$schema": DRAFT, **whole.model_json_schema()}


def build_column_schema(kind: ColumnType) -> Schema:
    """Return the schema of a column's values."""
    schema = COLUMN_SCHEMAS[kind.removesuffix("?")]
    return schema | {"type": [schema["type"], "null"]} if kind.endswith("?") else schema


def build_table_schema(name: str, columns: Columns) -> dict[str, Any]:
    """Return the schema of one row of a table, as JSON."""
    properties = {column: build_column_schema(kind) for column, kind in columns.items()}
    return {
        "$schema": DRAFT,
        "title": f"a row of the {name} table",
        "type": "object",
        "properties": properties,
        "required": list(columns),
        "additionalProperties": False,
    }


def build_schemas() -> dict[str, dict[str, Any]]:
    """Return every schema by its file's name."""
    tables = {f"{name}.schema.json": build_table_schema(name, columns) for name, columns in TABLES.items()}
    documents = {f"{name}.schema.json": {"$schema": DRAFT, **s} for name, s in build_document_schemas().items()}
    return {"params.schema.json": build_params_schema(), **tables, **documents}


def render_schema(schema: dict[str, Any]) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in build_schemas().items():
        (Path("schemas") / name).write_text(render_schema(schema), encoding="utf-8")
