"""Write `params.yaml` for `make repro`: copy an example, set `ingest.root`, and add the keys that DVC insists on.

Values are set in the text of the file, at the positions that the YAML parser reports, so that nothing else changes.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.codegen.dvc_yaml import find_missing_keys
from pipeline.config.check_params import (
    check_all_blocks,
    format_default,
    format_value,
    load_block_type,
    read_params,
)
from pipeline.errors import ParamsError

PARAMS = Path("params.yaml")

ROOT_KEY = ("ingest", "root")


def choose_params(source: Path | None, data: str | None, force: bool) -> list[str]:
    """Write `params.yaml` from `source` (None: keep it) with `ingest.root` set to `data` (None: keep it).

    Returns:
        The lines that had to be added because `dvc.yaml` watches their keys.

    Raises:
        ParamsError: `source` or `data` is missing, or `source` has `ingest.sources` besides `data`, or what would be
            written is wrong; or `params.yaml` has uncommitted changes that would be lost, and `force` is not set.
    """
    if source is not None and not source.is_file():
        raise ParamsError(f"{source} is missing: PARAMS must be a params file, for example examples/stamps.yaml")
    if data is not None and not Path(data).exists():
        raise ParamsError(f"{data} is missing: DATA must be a folder or an archive")
    blocks = read_params(source or PARAMS)  # names the file in its errors
    if data is not None and isinstance(blocks.get("ingest"), dict) and blocks["ingest"].get("sources"):
        raise ParamsError(f"{source or PARAMS} has ingest.sources: remove them, or say nothing of DATA")
    current = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else ""
    chosen, added = add_watched_keys(source.read_text(encoding="utf-8") if source else current)
    if data is not None:
        chosen = set_value(chosen, ROOT_KEY, data)
    if current and not force and _is_other(current, chosen) and has_changes(PARAMS):
        raise ParamsError(f"{PARAMS} has changes that are not committed: commit them, or say FORCE=1 to lose them")
    replace_params(chosen, source or PARAMS)
    return added


def _is_other(current: str, chosen: str) -> bool:
    """Return whether two params files differ in more than `ingest.root` and watched keys.

    Another folder alone loses nothing: it was asked for, as the one before was.
    """
    try:
        read_params(PARAMS)
    except ParamsError:
        return True
    return set_value(add_watched_keys(current)[0], ROOT_KEY, "") != set_value(chosen, ROOT_KEY, "")


def add_watched_keys(text: str) -> tuple[str, list[str]]:
    """Return the text of a params file with the keys that DVC needs and it lacks, and the lines for them."""
    from ruamel.yaml import YAML

    missing = find_missing_keys(YAML(typ="safe").load(text))
    for block, *keys in missing:
        default = load_block_type(block).model_fields[keys[0]].default if keys else {}
        text = set_value(text, (block, *keys), default)
    return text, [format_default(path) for path in missing]


def set_value(text: str, path: Sequence[str], value: Any) -> str:
    """Return the text of a params file with another value for the key at `path`, and nothing else changed.

    The key is added where it is missing. The text stays as it is where a part of `path` is no mapping, which
    `check_params` refuses.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import MappingNode

    node = YAML().compose(text)
    for depth, key in enumerate(path):
        name, found = next(((name, child) for name, child in node.value if name.value == key), (None, None))
        inner = path[depth + 1 :]
        if inner and isinstance(found, MappingNode) and found.value:
            node = found
            continue
        if found is not None and inner and found.value not in ("", "null", []):
            return text
        for part in reversed(inner):
            value = {part: value}
        return _insert(text, node, key, value) if found is None else _replace(text, name, found, value)
    raise AssertionError("a path has a key")


def _replace(text: str, key: Any, found: Any, value: Any) -> str:
    start, end = found.start_mark.index, found.end_mark.index
    end = max(start, len(text[:end].rstrip()))  # the newline of a block scalar
    if start == end:  # an empty value, whose mark is anywhere up to the next token
        start = end = text.index(":", key.end_mark.index) + 1
    return f"{text[:start].rstrip(' ')} {format_value(value)}{text[end:]}"


def _insert(text: str, mapping: Any, key: str, value: Any) -> str:
    """Add a key: before the others, or at the end of the file if it is a block."""
    pair = f"{key}: {format_value(value)}"
    if not mapping.value:
        return f"{text[: mapping.start_mark.index]}{{{pair}}}{text[mapping.end_mark.index :]}"
    first = mapping.value[0][0].start_mark
    if mapping.flow_style:
        return f"{text[: first.index]}{pair}, {text[first.index :]}"
    if first.column == 0:
        return f"{text.rstrip()}\n{pair}\n"
    return f"{text[: first.index]}{pair}\n{' ' * first.column}{text[first.index :]}"


def has_changes(path: Path) -> bool:
    """Return whether a file differs from the last commit, or has none to restore it from."""
    try:
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", str(path)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # no git on this machine
        return True
    return status.returncode != 0 or status.stdout.strip() != ""


def replace_params(text: str, source: Path) -> None:
    """Give `params.yaml` the content `text`, made from `source`, if that is valid."""
    neighbour = PARAMS.with_name(f".{PARAMS.name}.new")
    neighbour.write_text(text, encoding="utf-8")
    try:
        check_all_blocks(read_params(neighbour), str(source))
        if not PARAMS.is_file() or text != PARAMS.read_text(encoding="utf-8"):  # else its time would change for nothing
            neighbour.replace(PARAMS)
    finally:
        neighbour.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Run the command line of the Makefile and return the exit status; all of `params.yaml` is checked in any case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--params", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--force", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        added = choose_params(chosen.params, chosen.data, chosen.force)
    except ParamsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for line in added:
        sys.stdout.write(f"{PARAMS}: added `{line}`, which dvc.yaml watches\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
