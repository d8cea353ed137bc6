"""Write docs/init.md: what `shardwright init` prints and writes for each layout. `python -m tests.init.docs_page`."""

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.init.command import run as run_init
from tests.init.layouts import LAYOUTS, Expected, write

PAGE = Path(__file__).parents[2] / "docs/init.md"

HEAD = """# What `shardwright init` makes of twelve layouts

Made by `python -m tests.init.docs_page` of small data of the tests, in which each of these params files runs up to the
metrics. Empty blocks of the files are left out here.
"""

MAX_NAMES = 2


def make_page() -> str:
    """Return the text of the page."""
    sections = [describe_layout(name) for name in (*LAYOUTS, "urls")]
    return "\n".join([HEAD, *sections])


def describe_layout(name: str) -> str:
    """Return the section of one layout: some of its files, what is printed and what is written."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        data = Path("data")
        expected = write_urls(data) if name == "urls" else LAYOUTS[name](data)
        path = data / "urls.txt" if name == "urls" else data
        printed = io.TextIOWrapper(io.BytesIO(), "utf-8")
        with contextlib.redirect_stdout(printed):
            assert run_init([str(path), "--output", "params.yaml"]) == 0
        title = expected.layout[0].upper() + expected.layout[1:]
        command = f"$ shardwright init {path}\n"
        return "\n".join(
            [
                f"## {title}\n",
                *fence("", list_files(data)),
                *fence("", command + read_back(printed)),
                *fence("yaml", read_params()),
            ]
        )


def write_urls(root: Path) -> Expected:
    """Write a list of URLs."""
    names = [f"/{kind}/{number}.png" for kind in ("bell", "drum") for number in range(8)]
    write(root, "urls.txt", "".join(f"https://media.example.org{name}\n" for name in names))
    return Expected(16, layout="a list of URLs")


def read_back(printed: io.TextIOWrapper) -> str:
    """Return what was printed, with the same sizes wherever the encoders are others."""
    printed.seek(0)
    return re.sub(r"[\d.]+ (k?B)\b", r"… \1", printed.read())


def list_files(root: Path) -> str:
    """Return the names of some files of each folder."""
    return "".join(f"{line}\n" for line in _list_folder(root))


def _list_folder(folder: Path) -> Iterator[str]:
    names = sorted(path for path in folder.iterdir() if path.is_file())
    yield from map(str, names[:MAX_NAMES])
    if len(names) > MAX_NAMES:
        yield f"… {len(names) - MAX_NAMES} more"
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _list_folder(inner)


def read_params() -> str:
    """Return the params file without its first lines and empty blocks."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    blocks = text.split("\n\n")[1:]
    return (
        "\n\n".join(
            block.strip("\n") for block in blocks if not re.search(r": \{\}\n?$|^crawl:\n  lists_folder: lists$", block)
        )
        + "\n"
    )


def fence(kind: str, text: str) -> list[str]:
    """Return the lines of a block of code."""
    return [f"```{kind}", text.rstrip("\n"), "```\n"]


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
