"""Rows of the tables, as JSON, match the schemas that are made from their columns."""

from typing import Any

import jsonschema
import pytest

from pipeline.codegen.json_schemas import build_table_schema
from pipeline.tables.columns import Columns
from pipeline.tables.contracts import TABLES
from tests.support.stage_tables import hash_text

VALUES: dict[str, Any] = {"string": "a", "int64": -1, "uint64": 1, "float64": 0.5, "bool": True, "hash": hash_text("a")}
WRONG: dict[str, Any] = {"string": 1, "int64": 0.5, "uint64": -1, "float64": "a", "bool": 1, "hash": "a" * 63}


def make_row(columns: Columns) -> dict[str, Any]:
    return {name: VALUES[kind.rstrip("?")] for name, kind in columns.items()}


@pytest.mark.parametrize("name", TABLES)
def test_a_row_is_valid_and_one_with_a_wrong_value_is_not(name: str) -> None:
    columns = TABLES[name]
    validator = jsonschema.Draft202012Validator(build_table_schema(name, columns))
    row = make_row(columns)
    validator.validate(row)
    for column, kind in columns.items():
        assert not validator.is_valid(row | {column: WRONG[kind.rstrip("?")]})
        assert validator.is_valid(row | {column: None}) == kind.endswith("?")
        assert not validator.is_valid({each: row[each] for each in row if each != column})
    assert not validator.is_valid(row | {"unknown": 1})
