"""Make items of all modalities, clean them in this process, and read what is kept and dropped."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import TarReader, TarStore, read_location
from pipeline.tables.columns import Row
from pipeline.tables.contracts import CLEANED, DROPPED, ITEMS
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table, write_table

ROOT = Path(__file__).parents[2]
TYPES = {"png": ("image", "image/png"), "jpg": ("image", "image/jpeg"), "wav": ("audio", "audio/wav"),
         "txt": ("text", "text/plain")}  # fmt: skip


def make_params(**changes: Any) -> CleanParams:
    """Return the block of params.yaml, with `key=value` changed."""
    block = read_effective_params(ROOT / "params.yaml")["clean"]
    return check_block({"clean": {**block, **changes}}, "clean", CleanParams)


def draw_image(seed: int, size: int = 48) -> "np.ndarray[Any, Any]":
    """Draw a few soft blobs, as different from those of another seed as real images are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    grey = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.03) * c for a, b, c in rng.random((6, 3)))
    return np.repeat((255 * grey / grey.max()).astype(np.uint8)[:, :, None], 3, axis=2)


def encode_image(pixels: "np.ndarray[Any, Any]", ending: str, *options: int) -> bytes:
    import cv2

    done, data = cv2.imencode(f".{ending}", pixels, options)
    assert done
    return bytes(data)


def make_audio(seed: int, level: float = 0.5) -> bytes:
    """Return half a second of a few tones that rise and fade, as WAV."""
    import soundfile

    rng = np.random.default_rng(seed)
    time = np.arange(4000) / 8000
    tones = [np.sin(2 * np.pi * f * time) * np.exp(-(((time - at) / 0.1) ** 2)) for f, at in
             zip(rng.uniform(200, 3500, 8), rng.uniform(0, 0.5, 8), strict=True)]  # fmt: skip
    file = BytesIO()
    soundfile.write(file, level * sum(tones) / 8, 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def make_things(count: int) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        files[f"{number:03d}.png"] = encode_image(draw_image(number), "png")
        files[f"{number:03d}.wav"] = make_audio(number)
        files[f"{number:03d}.txt"] = f"The {number}th thing of {number * 7919} others.".encode()
    return files


def ingest_files(folder: Path, files: Mapping[str, bytes]) -> Workspace:
    """Return a workspace whose `2_ingested` holds `files`; their extensions give their types."""
    rows: list[Row] = []
    with TarStore(folder / "data/2_ingested", "2_ingested", "items") as store:
        for name, data in sorted(files.items()):
            modality, media_type = TYPES[name.rpartition(".")[2]]
            location = store.write(name, data)
            row: Row = {**dict.fromkeys(ITEMS), "source": "folder", "file": name, "part": "", "modality": modality}
            row |= {"media_type": media_type, "sha256": hashlib.sha256(data).hexdigest()}
            row |= {"tar": location.tar, "offset": location.offset, "size": location.size}
            row["id"] = hashlib.sha256(f"{row['sha256']}\0{name}".encode()).hexdigest()
            rows.append(row)
    write_table(folder / "data/2_ingested/items", sorted(rows, key=lambda row: str(row["id"])), ITEMS)
    return open_workspace(folder, "work", workers=0)


def open_workspace(folder: Path, work: str, workers: int) -> Workspace:
    run = RunParams(workers=workers, memory="2 GiB", cache=str(folder / "cache"), progress=False)
    return Workspace(folder / "data", folder / work, folder / "cache", run)


def read_cleaned(workspace: Workspace) -> dict[str, Row]:
    """Return the cleaned rows by file, with the columns of the ingested ones; clusters as ids of their first items."""
    rows, items = read_table(workspace.work / "3_cleaned/items", CLEANED), read_ingested(workspace)
    assert [row["item"] for row in rows] == sorted(row["item"] for row in rows)
    for row in rows:
        row |= {column: items[row[column]]["id"] for column in ("exact_cluster", "near_cluster")}
    return {items[row["item"]]["file"]: items[row["item"]] | row for row in rows}


def read_ingested(workspace: Workspace) -> list[Row]:
    return read_table(workspace.data / "2_ingested/items", ITEMS)


def read_reasons(workspace: Workspace) -> dict[str, str]:
    rows = read_table(workspace.work / "3_cleaned/dropped", DROPPED)
    assert {(row["stage"], row["unit"]) for row in rows} <= {("clean", "item")}
    return {row["key"]: row["reason"] for row in rows}


def read_bytes(workspace: Workspace, row: Row) -> bytes:
    root = workspace.work if row["tar"].startswith("3_cleaned/") else workspace.data
    with TarReader(root) as reader:
        return reader.read(read_location(row))


def run_clean(workspace: Workspace, **changes: Any) -> Outcome:
    outcome = clean(make_params(**changes), workspace)
    outcome.check()
    return outcome


def hash_folder(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
