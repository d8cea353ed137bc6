"""JSON Schemas of `params.yaml` and of all that crosses a stage boundary, made from the types. `make generated`."""

import json
from pathlib import Path
from typing import Any

from pydantic import create_model

from pipeline.check_params import BLOCKS, load_block_type
from pipeline.contracts import TABLES
from pipeline.documents import build_document_schemas
from pipeline.params import Params
from pipeline.tables import Columns

DRAFT = "https://json-schema.org/draft/2020-12/schema"
JSON_TYPES = {"string": "string", "int64": "integer", "float64": "number", "bool": "boolean"}


def build_params_schema() -> dict[str, Any]:
    """The schema of a whole params file."""
    blocks: dict[str, Any] = {name: (load_block_type(name), ...) for name in BLOCKS}
    whole = create_model("ParamsFile", __base__=Params, **blocks)
    return {"$schema": DRAFT, **whole.model_json_schema()}


def build_table_schema(name: str, columns: Columns) -> dict[str, Any]:
    """The schema of one row of a table, as JSON."""
    properties = {
        column: {"type": [JSON_TYPES[kind[:-1]], "null"] if kind.endswith("?") else JSON_TYPES[kind]}
        for column, kind in columns.items()
    }
    return {
        "$schema": DRAFT,
        "title": f"a row of the {name} table",
        "type": "object",
        "properties": properties,
        "required": list(columns),
        "additionalProperties": False,
    }


def build_schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file's name."""
    tables = {f"{name}.schema.json": build_table_schema(name, columns) for name, columns in TABLES.items()}
    documents = {f"{name}.schema.json": {"$schema": DRAFT, **s} for name, s in build_document_schemas().items()}
    return {"params.schema.json": build_params_schema(), **tables, **documents}


def render_schema(schema: dict[str, Any]) -> str:
    """The text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in build_schemas().items():
        (Path("schemas") / name).write_text(render_schema(schema), encoding="utf-8")
