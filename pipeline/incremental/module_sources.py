"""Find the project's files that a module runs, by following its imports in the source.

This is the one list of code: `dvc.yaml` names these files as dependencies of each stage, cache keys hold their hash,
and workers of a cluster are compared by it. Tests compare it with the modules that are really loaded.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeGuard

from pipeline.config.plugins import FOLDER as PLUGINS
from pipeline.config.plugins import ROOT

PACKAGES = ("pipeline", PLUGINS, "shardwright", "stages")
STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
"""Nodes that are a statement or contain statements."""

LAZY_CALL = "LazyObject"
"""`pipeline.config.lazy_import.LazyObject`: its argument `module:Name` counts as an import of the module. With a part
that is a value, as in `f"pipeline.{name}.modality:{name}"`, it counts as one of all modules that fit."""


def find_source_files(module: str) -> list[str]:
    """Return the paths of `module` and of all of ours that it imports, at any depth: relative to `ROOT`, sorted.

    Counted are imports inside functions, `LazyObject("module:Name")`, see `LAZY_CALL`, and for a name that a package
    loads lazily (its `__init__.py` has a `__getattr__` and imports the name under `if TYPE_CHECKING:`) the module that
    defines it. Other imports under `if TYPE_CHECKING:` are not: they never run.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = find_path(name)
        if path is None or str(path) in found:
            continue
        found.add(str(path))
        waiting += [*find_imports(path), *_find_parents(name)]
    return sorted(found)


def hash_source(module: str) -> str:
    """Return the sha256 over the names and contents of `find_source_files(module)`."""
    digest = hashlib.sha256()
    for path in find_source_files(module):
        digest.update(path.encode() + b"\0" + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return digest.hexdigest()


def hash_plugins() -> str:
    """Return the sha256 over the names and contents of all files of `plugins/`, whether params name them or not."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / PLUGINS).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def find_path(module: str) -> Path | None:
    """Return the path of a module of this project, relative to `ROOT`; None for any other name."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = Path(*module.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if (ROOT / path).is_file():
            return path
    return None


def _find_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


@cache
def find_imports(path: Path) -> tuple[str, ...]:
    """Return the names that the file at `path`, relative to `ROOT`, imports: for `from a import b` both a and a.b.

    Where `a` loads `b` lazily, the module that defines `b` comes too.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    tree = ast.parse(text)
    names: list[str] = []
    for node in _walk_statements(tree):
        if isinstance(node, ast.Import):
            lazy = [alias.name for alias in node.names if read_lazy_names(alias.name)]
            assert not lazy, f"{path}: write `from {lazy[0]} import ...`: which of its modules are used must be known"
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this project"
            package = node.module or ""
            homes = read_lazy_names(package)
            names += [package, *(f"{package}.{alias.name}" for alias in node.names)]
            names += [homes[alias.name] for alias in node.names if alias.name in homes]
    if LAZY_CALL in text:  # looking at every expression takes as long as parsing
        names += _find_lazy_objects(tree, path)
    return tuple(names)


@cache
def read_lazy_names(package: str) -> Mapping[str, str]:
    """Return the names that a package loads when they are first used (PEP 562), with the module that defines each."""
    path = find_path(package)
    if path is None or path.name != "__init__.py":
        return {}
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    if not any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body):
        return {}
    imports = [node for block in tree.body if _is_type_checking(block) for node in ast.walk(block)]
    return {
        alias.name: node.module
        for node in imports
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _find_lazy_objects(tree: ast.Module, path: Path) -> Iterator[str]:
    """Yield the modules of the `LazyObject("module:Name")` calls of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == LAZY_CALL:
            match node.args:
                case [ast.Constant(value=str(name))]:
                    yield name.partition(":")[0]
                case [ast.JoinedStr(values=values)]:
                    parts = [part.value if isinstance(part, ast.Constant) else "*" for part in values]
                    yield from _find_modules("".join(map(str, parts)).partition(":")[0])
                case _:
                    raise AssertionError(f"{path}: {LAZY_CALL} takes one string")


def _find_modules(pattern: str) -> list[str]:
    """Return the modules whose names match a pattern with `*` for one part."""
    found = sorted(ROOT.glob(f"{pattern.replace('.', '/')}.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in found]


def _walk_statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements of a file except those that only type checkers see."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if _is_type_checking(node):
            waiting += node.orelse
        else:  # expressions are left out: nothing is imported in one, except by LazyObject
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, STATEMENTS)]


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
