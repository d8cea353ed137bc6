"""Read tables in JSON: a line a row, an array of objects, or the captions of COCO."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow, build_rows
from pipeline.formats.tabular.table_encoding import open_table
from pipeline.tables.drops import Reason


def read_json_lines(path: Path, columns: RequestedColumns, encoding: str) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a file with a JSON object a line."""
    with open_table(path, encoding, newline="\n") as file:
        for line, content in enumerate(file, start=1):
            if content.strip():
                yield from _parse_line(line, content, columns)


def _parse_line(line: int, content: str, columns: RequestedColumns) -> Iterator[TextRow | BadRow]:
    try:
        content.encode()  # bytes that the encoding does not have are lone surrogates
        record = _parse(content)
    except UnicodeEncodeError:
        yield BadRow(line, Reason.NOT_UTF8, "the line has bytes that are not text in the table's encoding")
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        yield BadRow(line, Reason.UNREADABLE, "the line is not valid JSON")
    else:
        yield from _build_object(line, record, columns)


def read_json(path: Path, columns: RequestedColumns, encoding: str) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a JSON file: an array of objects; or an object with `images` and `annotations`, as COCO's
    captions are, whose rows have the columns of both. A row's line is its place in the array, from 1.

    Raises:
        InputError: the file is not valid JSON, or neither of these.
    """
    try:
        with open_table(path, encoding) as file:
            text = file.read()
        text.encode()
        content = _parse(text)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not valid JSON in {encoding.removesuffix('-sig').upper()}") from None
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        content = _join_images(path, content)
    if not isinstance(content, list):
        raise InputError(f"{path} must be an array of objects, or have `images` and `annotations` as COCO's files do")
    for line, record in enumerate(content, start=1):
        yield from _build_object(line, record, columns)


def _join_images(path: Path, content: Mapping[str, Any]) -> list[Any]:
    """Return the annotations, each with the columns of its image; that of a missing image as it is."""
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        raise InputError(f"{path} has `images`, but no `annotations`: name the file that has the captions")
    images = {str(image["id"]): image for image in content["images"] if isinstance(image, dict) and "id" in image}
    return [
        {**images.get(str(each.get("image_id")), {}), **each} if isinstance(each, dict) else each
        for each in annotations
    ]


def _parse(content: str) -> Any:
    return json.loads(content.removeprefix("\ufeff"), object_pairs_hook=_build_pairs, parse_constant=_refuse_constant)


def _build_object(line: int, record: Any, columns: RequestedColumns) -> Iterator[TextRow | BadRow]:
    if isinstance(record, dict):
        yield from build_rows(line, record, columns)
    else:
        yield BadRow(line, Reason.UNREADABLE, "it is not a JSON object")


def _build_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key occurs twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
