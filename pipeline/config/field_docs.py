"""Give the fields of params their docstrings as descriptions, for schemas and for people.

Pydantic would do so whenever a class is made, and find the source by looking through all loaded modules: half a second
of every stage's start, for texts that no stage reads.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from pipeline.config.params import Params


def describe_fields(model: type[BaseModel]) -> None:
    """Set the descriptions of the fields of a type, and of all types of params that are loaded.

    A type may hold others that its annotations do not show, as the options of tasks, which a table names: so all are
    described before the type itself, and what its annotations show, is made anew.
    """
    described: set[type[BaseModel]] = set()
    for kind in _list_kinds(Params):
        _describe(kind, described)
    _describe(model, set())


def _list_kinds(base: type[Params]) -> Iterator[type[Params]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _list_kinds(kind)


def _describe(model: type[BaseModel], done: set[type[BaseModel]]) -> None:
    if model in done:
        return
    done.add(model)
    docs: dict[str, str] = {}
    for base in reversed(model.__mro__):
        docs |= _read_class(base)
    for name, field in model.model_fields.items():
        field.description = field.description or docs.get(name)
        for part in list_models(field.annotation):
            _describe(part, done)
    model.model_rebuild(force=True)


def list_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the types of mappings that an annotation names, also inside unions and containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from list_models(argument)


def _read_class(base: type) -> dict[str, str]:
    """Return the docstrings of the attributes that a class of a file annotates, by name."""
    try:
        file = inspect.getfile(base)
    except (TypeError, OSError):  # a class of C, or of no file
        return {}
    return _read_file(file).get(base.__name__, {})


@cache
def _read_file(file: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    return {node.name: dict(_read_attributes(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _read_attributes(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, after in zip(node.body, node.body[1:], strict=False):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield statement.target.id, inspect.cleandoc(after.value.value)
