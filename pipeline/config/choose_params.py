"""Puts an example's params in the place of `params.yaml`, and points `ingest.root` at a folder of data."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from pipeline.config.check_params import check_all_blocks, read_params
from pipeline.errors import ParamsError

PARAMS = Path("params.yaml")

ROOT_LINE = re.compile(
    r"""^(ingest:.*\n(?:[ #].*\n|\n)*?  root:)[ ]*("(?:\\.|[^"\\\n])*"|'(?:''|[^'\n])*'|.*?)(?=[ ]*(?:[ ]#|$))""",
    re.MULTILINE,
)
"""All up to `root:` in the block `ingest`, and its value; a comment behind it is in neither."""


def choose_params(source: Path | None, data: str | None, force: bool) -> None:
    """Write `params.yaml` as it was asked for, checked before it is there; it may be like that already.

    Raises:
        ParamsError: `source` or the folder `data` is missing, or what would be written is wrong; or `params.yaml` has
            changes that are in no commit and would be lost, and `force` is not set.
    """
    if source is not None and not source.is_file():
        raise ParamsError(f"{source} is missing: PARAMS names a params file, for example examples/stamps.yaml")
    if data is not None and not Path(data).is_dir():
        raise ParamsError(f"{data} is not a folder: DATA names the folder of your data")
    read_params(source or PARAMS)  # which says what is wrong with it by its own name
    current = PARAMS.read_text(encoding="utf-8") if PARAMS.is_file() else ""
    wanted = source.read_text(encoding="utf-8") if source else current
    if data is not None:
        wanted = set_root(wanted, data)
    # Another folder alone is no loss: it was asked for, as it was the last time.
    lost = current and set_root(wanted, "") != set_root(current, "")
    if lost and not force and has_changes(PARAMS):
        raise ParamsError(f"{PARAMS} has changes that are not committed: commit them, or say FORCE=1 to lose them")
    replace_params(wanted, data)


def set_root(params: str, folder: str) -> str:
    """The text of a params file with another `ingest.root`, and nothing else touched."""
    return ROOT_LINE.sub(lambda found: f"{found[1]} {json.dumps(folder, ensure_ascii=False)}", params, count=1)


def has_changes(path: Path) -> bool:
    """Whether a file differs from the last commit, or there is none to bring it back from."""
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", str(path)], capture_output=True, text=True, check=False
    )
    return status.returncode != 0 or status.stdout.strip() != ""


def replace_params(text: str, root: str | None) -> None:
    """Give `params.yaml` the content `text`, if that is valid and `ingest.root` is `root` in it, where one is given."""
    neighbour = PARAMS.with_name(f".{PARAMS.name}.new")
    neighbour.write_text(text, encoding="utf-8")
    try:
        blocks = read_params(neighbour)
        check_all_blocks(blocks)
        if root is not None and blocks["ingest"]["root"] != root:
            raise ParamsError("DATA cannot be set: `root:` must be a line of its own in the block `ingest`")
        if not PARAMS.is_file() or text != PARAMS.read_text(encoding="utf-8"):  # else its time would change for nothing
            neighbour.replace(PARAMS)
    finally:
        neighbour.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Do what the Makefile was asked for, and check all of `params.yaml` in any case; gives the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--params", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--force", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        choose_params(chosen.params, chosen.data, chosen.force)
    except ParamsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
