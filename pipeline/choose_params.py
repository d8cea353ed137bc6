"""Puts an example's params in the place of `params.yaml`, and points `ingest.root` at a folder of data."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.check_params import check_all_blocks
from pipeline.errors import ParamsError
from pipeline.params import read_params

PARAMS = Path("params.yaml")


def copy_params(source: Path, force: bool) -> None:
    """Copy `source` over `params.yaml`.

    Raises:
        ParamsError: `source` is missing, or `params.yaml` has changes that are in no commit and `force` is not set.
    """
    if not source.is_file():
        raise ParamsError(f"{source} is missing: PARAMS names a params file, for example examples/stamps.yaml")
    if source.read_bytes() == PARAMS.read_bytes():
        return
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", str(PARAMS)], capture_output=True, text=True, check=True
    )
    if status.stdout.strip() and not force:
        raise ParamsError(f"{PARAMS} has changes that are not committed: commit them, or say FORCE=1 to lose them")
    shutil.copyfile(source, PARAMS)


def point_at(folder: str) -> None:
    """Set `ingest.root`, and touch nothing else in the file.

    Raises:
        ParamsError: the folder does not exist.
    """
    if not Path(folder).is_dir():
        raise ParamsError(f"{folder} is not a folder: DATA names the folder of your data")
    lines = PARAMS.read_text(encoding="utf-8").splitlines(keepends=True)
    block = ""
    for number, line in enumerate(lines):
        if line[:1].isalpha():
            block = line.partition(":")[0]
        if block == "ingest" and re.match(r" +root:", line):
            lines[number] = f"  root: {json.dumps(folder)}\n"
    PARAMS.write_text("".join(lines), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Do what the Makefile was asked for, then check all of `params.yaml`; gives the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--params", type=Path)
    parser.add_argument("--data")
    parser.add_argument("--force", action="store_true")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.params:
            copy_params(chosen.params, chosen.force)
        if chosen.data:
            point_at(chosen.data)
        check_all_blocks(read_params(PARAMS))
    except ParamsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
