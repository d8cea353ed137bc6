"""Load what `params.yaml` names in the user's own files, as `plugins/<file>.py:<Name>` in place of a row of a table.

The folder `plugins/` lies beside `params.yaml`. Its files are imported as `plugins.<file>`, so they may import each
other. Names are checked in the source, without importing it, as params are checked long before they are used.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import ParamsError

ROOT = Path(__file__).resolve().parents[2]
"""The folder that has `plugins/`."""

FOLDER = "plugins"

PATTERN = rf"^{FOLDER}/(?:[A-Za-z_]\w*/)*[A-Za-z_]\w*\.py:[A-Za-z_]\w*$"
"""Of the name of a plugin; ASCII, so that it means the same in a JSON Schema."""

_NAME = re.compile(PATTERN, re.ASCII)


def is_plugin(name: object) -> bool:
    """Return whether a value has the form `plugins/<file>.py:<Name>`."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def find_plugins(value: Any) -> Iterator[str]:
    """Yield the names of plugins among the keys and values of params, given as JSON values."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from find_plugins(key)
            yield from find_plugins(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from find_plugins(inner)
    elif is_plugin(value):
        yield value


def find_module(name: str) -> str:
    """Return the module of a plugin: `plugins.pitch` of `plugins/pitch.py:Pitch`."""
    return name.partition(":")[0].removesuffix(".py").replace("/", ".")


def shorten_name(name: str) -> str:
    """Return what a field is called that comes of the row `name` of a table: `pitch` of `plugins/voice.py:Pitch`."""
    return name.partition(":")[2].lower() if is_plugin(name) else name


def find_fault(name: str) -> str | None:
    """Return what is wrong with the name of a plugin, judged by the source: "plugins/pitch.py is missing"."""
    file, _, wanted = name.partition(":")
    try:
        tree = ast.parse((ROOT / file).read_bytes())
    except FileNotFoundError:
        return f"there is no file {file} in the folder of params.yaml"
    except (OSError, ValueError):
        return f"{file} cannot be read"
    except SyntaxError as error:
        return f"{file} is not valid Python: line {error.lineno}: {error.msg}"
    defined = [bound for statement in tree.body for bound in _list_bound(statement)]
    if wanted in defined:
        return None
    return f"{file} defines no {wanted}; it defines {', '.join(defined) or 'nothing'}"


def _list_bound(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement at the top level of a file binds, but for imported modules."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name for alias in names)


def load_plugin(name: str) -> Any:
    """Import the file of a plugin, and return the object that it names.

    Raises:
        ParamsError: there is no such file or object, or the file cannot be imported; the message has the file.
    """
    if fault := find_fault(name):
        raise ParamsError(f"params.yaml names {name}, but {fault}")
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    file, _, wanted = name.partition(":")
    try:
        return getattr(import_module(find_module(name)), wanted)
    except Exception as error:
        raise ParamsError(f"{file} cannot be imported: {type(error).__name__}: {error}") from error
