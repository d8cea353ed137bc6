"""Write a proposal down as a params file: short, in block style, with the reason of each guess as a comment."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.codegen.dvc_yaml import find_missing_keys
from pipeline.config.check_params import BLOCKS, check_all_blocks, format_value, load_block_type, parse_params
from pipeline.init.proposal import Guess

WIDTH = 120
"""Characters of a line."""

Tree = dict[str, "Tree | Guess"]


def render_params(keys: Mapping[str, Guess], title: str) -> str:
    """Return the text of a params file with these keys by their full names, and those that DVC watches.

    Raises:
        ParamsError: a guess is no allowed value.
    """
    tree: Tree = {block: {} for block in BLOCKS if block != "run"}
    for name, guess in keys.items():
        _add(tree, name.split("."), guess)
    for block, *path in find_missing_keys(_build_values(tree)):
        if path:
            _add(tree, [block, *path], Guess(load_block_type(block).model_fields[path[0]].default))
    lines = [f"# {line}" for line in title.split("\n")]
    for block, inner in tree.items():
        lines += ["", *_render(block, inner, "")]
    text = "\n".join(lines) + "\n"
    check_all_blocks(parse_params(text, "the proposal"), "the proposal")
    return text


def _add(tree: Tree, path: list[str], guess: Guess) -> None:
    *folders, last = path
    for name in folders:
        inner = tree.setdefault(name, {})
        assert isinstance(inner, dict), path
        tree = inner
    tree[last] = guess


def _build_values(tree: Tree) -> dict[str, Any]:
    return {name: each.value if isinstance(each, Guess) else _build_values(each) for name, each in tree.items()}


def _render(key: str, node: "Tree | Guess", indent: str) -> Iterator[str]:
    if isinstance(node, Guess):
        yield from _render_value(key, node.value, node.why, indent)
    elif not node:
        yield f"{indent}{key}: {{}}"
    else:
        yield f"{indent}{key}:"
        for name, inner in node.items():
            yield from _render(name, inner, f"{indent}  ")


def _render_value(key: str, value: Any, why: str, indent: str) -> Iterator[str]:
    scalar = not isinstance(value, dict | list) or not value
    line = f"{indent}{key}:" + (f" {_format(value)}" if scalar else "")
    if why and len(line) + len(why) + 4 > WIDTH:
        yield from (f"{indent}# {piece}" for piece in _wrap(why, WIDTH - len(indent) - 2))
        yield line
    else:
        yield f"{line}  # {why}" if why else line
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _render_value(name, inner, "", f"{indent}  ")
    elif isinstance(value, list):
        for entry in value:
            yield from _render_entry(entry, indent)


def _render_entry(entry: Any, indent: str) -> Iterator[str]:
    if not isinstance(entry, dict) or not entry:
        yield f"{indent}- {_format(entry)}"
        return
    for number, (name, inner) in enumerate(entry.items()):
        first, *rest = _render_value(name, inner, "", f"{indent}  ")
        yield f"{indent}- {first.lstrip()}" if number == 0 else first
        yield from rest


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 1 > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _format(value: Any) -> str:
    """Return a value as YAML on one line; patterns as they are, where YAML reads them so."""
    if (
        isinstance(value, str)
        and value.startswith(("(?", "."))
        and not {": ", " #"} & {value[i : i + 2] for i in range(len(value))}
    ):
        return value
    return format_value(value)
