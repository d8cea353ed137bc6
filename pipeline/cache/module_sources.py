"""Which files of this project a module runs: its imports of ours, transitively, read from the source.

Two things stand on it: `dvc.yaml` names these files as dependencies of each stage, and a computed feature is cached
under their hash.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("pipeline", "shardwright", "stages", "demo")
STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
"""Nodes that are a statement or have some."""


def find_source_files(module: str) -> list[str]:
    """Paths below the project's root, sorted, of `module` and of all of ours that it imports, at any depth.

    Imports inside functions count; those under `if TYPE_CHECKING:` do not, they never run.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _find_path(name)
        if path is None or str(path) in found:
            continue
        found.add(str(path))
        waiting += [*find_imports(path), *_find_parents(name)]
    return sorted(found)


def hash_source(module: str) -> str:
    """sha256 over the names and contents of `find_source_files(module)`."""
    digest = hashlib.sha256()
    for path in find_source_files(module):
        digest.update(path.encode() + b"\0" + hashlib.sha256((ROOT / path).read_bytes()).digest())
    return digest.hexdigest()


@cache
def _find_path(module: str) -> Path | None:
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
    """The names of all that the file at `path`, below the project's root, imports; of `from a import b` a and a.b."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in _walk_running(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute in this project"
            names += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _walk_running(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements of a file but those that only type checkers see."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting += node.orelse
        else:  # expressions are left out: nothing is imported in one
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, STATEMENTS)]
