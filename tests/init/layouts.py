"""Make small data in the layouts that people have it in."""

import csv
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import factory_media

KINDS = ("bell", "drum")
SPEAKERS = ("ann", "bob", "cyd", "dan")
COLOURS = {"bell": "low dark red", "drum": "high bright green"}


@dataclass(frozen=True)
class Expected:
    """What is to come of a layout: the number of samples, their labels, and those of each split where it is given."""

    samples: int
    labels: tuple[str, ...] = KINDS
    splits: Mapping[str, int] | None = None
    layout: str = ""


def make_image(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    return factory_media.encode_png(pixels)


def make_audio(number: int) -> bytes:
    return factory_media.encode_audio(factory_media.make_tone(8000, 0.4, seed=number), 8000, "WAV")


def make_caption(number: int, kind: str, version: int = 0) -> str:
    return f"the number {number} of a {COLOURS[kind]} one, said in form {version}"


def write(root: Path, name: str, content: bytes | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_csv(root: Path, name: str, rows: list[dict[str, Any]], delimiter: str = ",") -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write(root, name, text.getvalue())


def write_split_folders(root: Path) -> Expected:
    for split, count in {"training": 6, "dev": 3, "testing": 3}.items():
        for kind in KINDS:
            for number in range(count):
                write(root, f"{split}/{kind}/{split}{number}.png", make_image(hash_name(split, kind, number)))
    return Expected(24, splits={"train": 12, "val": 6, "test": 6}, layout="class folders in split folders")


def hash_name(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def write_class_folders(root: Path) -> Expected:
    for place, kind in enumerate(KINDS):
        for number in range(10):
            write(root, f"{kind}/{number}.png", make_image(20 * place + number))
    write(root, "README.txt", "Images of bells and drums.")
    write(root, "notes.docx", "notes")
    return Expected(20, layout="class folders")


def write_named_files(root: Path) -> Expected:
    for place, (kind, speaker) in enumerate((kind, speaker) for kind in KINDS for speaker in SPEAKERS):
        for number in range(3):
            write(root, f"{kind}_{speaker}_{number}.wav", make_audio(10 * place + number))
    return Expected(24, layout="labels in the names of files")


def write_pairs(root: Path) -> Expected:
    for number in range(20):
        kind = KINDS[number % 2]
        write(root, f"{kind}-{number:03d}.png", make_image(number))
        write(root, f"{kind}-{number:03d}.txt", make_caption(number, kind))
    return Expected(20, layout="pairs by name")


def write_twin_folders(root: Path) -> Expected:
    for number in range(20):
        kind = KINDS[number % 2]
        write(root, f"images/{kind}/{number:03d}.png", make_image(number))
        write(root, f"captions/{kind}/{number:03d}.txt", make_caption(number, kind))
    return Expected(20, layout="pairs in twin folders")


def write_table(root: Path) -> Expected:
    rows = []
    for number in range(20):
        kind, split = KINDS[number % 2], ("train", "train", "valid", "test")[number // 2 % 4]
        write(root, f"media/{number:03d}.png", make_image(number))
        said = make_caption(number, kind)
        rows.append(
            {"filename": f"{number:03d}.png", "sentence": said, "category": kind, "subset": split, "id": number}
        )
    write_csv(root, "meta.csv", rows)
    return Expected(20, splits={"train": 12, "val": 4, "test": 4}, layout="files that a table describes")


def write_json_lines(root: Path) -> Expected:
    lines = []
    for number in range(20):
        kind = KINDS[number % 2]
        write(root, f"images/{number:03d}.png", make_image(number))
        captions = [make_caption(number, kind, version) for version in range(3)]
        lines.append(json.dumps({"file_name": f"images/{number:03d}.png", "captions": captions, "label": kind}))
    write(root, "captions.jsonl", "\n".join(lines) + "\n")
    return Expected(20, layout="files that a table describes")


LAYOUTS: Mapping[str, Callable[[Path], Expected]] = {
    "split_folders": write_split_folders,
    "class_folders": write_class_folders,
    "named_files": write_named_files,
    "pairs": write_pairs,
    "twin_folders": write_twin_folders,
    "table": write_table,
    "json_lines": write_json_lines,
}
