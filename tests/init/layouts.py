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
import pyarrow as pa

from tests.support import factory_media
from tests.support.archives import make_parquet, make_tar
from tests.support.factory_video import draw_frames, encode_video

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


def write_hub_table(root: Path) -> Expected:
    """A Parquet table as `datasets` of Hugging Face writes them."""
    numbers = range(20)
    cells = [{"bytes": make_image(number), "path": f"{number:03d}.png"} for number in numbers]
    names = ["bell", "drum"]
    columns = {"image": cells, "label": [number % 2 for number in numbers]}
    columns |= {"caption": [[make_caption(number, KINDS[number % 2], form) for form in range(2)] for number in numbers]}
    features = {"label": {"_type": "ClassLabel", "names": names}, "image": {"_type": "Image"}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    write(root, "data/train-00000-of-00001.parquet", make_parquet(table))
    return Expected(20, layout="tables of bytes")


def write_shards(root: Path) -> Expected:
    for shard in range(2):
        files: dict[str, bytes] = {}
        for number in range(10 * shard, 10 * shard + 10):
            kind = KINDS[number % 2]
            files |= {f"{number:05d}.png": make_image(number), f"{number:05d}.cls": kind.encode()}
            files |= {f"{number:05d}.txt": make_caption(number, kind).encode()}
        write(root, f"shard-{shard:06d}.tar", make_tar(files))
    return Expected(20, layout="shards of WebDataset")


def write_kaldi(root: Path) -> Expected:
    texts, segments, speakers = [], [], []
    for place, speaker in enumerate(SPEAKERS):
        tone = factory_media.make_tone(8000, 3.0, seed=place)
        write(root, f"wav/{speaker}.wav", factory_media.encode_audio(tone, 8000, "WAV"))
        for number in range(6):
            name = f"{speaker}-{number}"
            texts.append(f"{name} {KINDS[number % 2]}\n")
            segments.append(f"{name} {speaker} {number / 2:.1f} {number / 2 + 0.5:.1f}\n")
            speakers.append(f"{name} {speaker}\n")
    write(root, "text", "".join(texts))
    write(root, "segments", "".join(segments))
    write(root, "utt2spk", "".join(speakers))
    write(root, "wav.scp", "".join(f"{speaker} wav/{speaker}.wav\n" for speaker in SPEAKERS))
    return Expected(24, layout="a Kaldi folder")


def write_subtitles(root: Path) -> Expected:
    for place, kind in enumerate(KINDS):
        for number in range(2):
            frames = draw_frames(32, seed=2 * place + number)
            write(root, f"{kind}/{number}.mp4", encode_video(frames, "video/mp4"))
            cues = [(f"{n + 1}\n00:00:0{n},000 --> 00:00:0{n + 1},000", make_caption(n, kind)) for n in range(3)]
            write(root, f"{kind}/{number}.en.srt", "".join(f"{times}\n{text}\n\n" for times, text in cues))
    return Expected(12, layout="subtitles beside recordings")


LAYOUTS: Mapping[str, Callable[[Path], Expected]] = {
    "split_folders": write_split_folders,
    "class_folders": write_class_folders,
    "named_files": write_named_files,
    "pairs": write_pairs,
    "twin_folders": write_twin_folders,
    "table": write_table,
    "json_lines": write_json_lines,
    "hub_table": write_hub_table,
    "shards": write_shards,
    "kaldi": write_kaldi,
    "subtitles": write_subtitles,
}
