"""Write the inputs of extract without running the stages before it: a few images, audio and text items, and tables."""

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.extract.build_dataset import DatasetBuild
from pipeline.extract.extractor import ExtractFolders
from pipeline.extract.make_shard import ShardTask
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_corpus import plan_corpus
from pipeline.extract.plan_fields import PartKind
from pipeline.extract.step import extract
from pipeline.incremental.evict import ObjectUse
from pipeline.runtime.run_stage import open_workspace, publish
from pipeline.runtime.serial_executor import SerialExecutor
from pipeline.tables.blob_store import TarStore
from pipeline.tables.columns import Row
from pipeline.tables.contracts import (
    ALIGNED_PART_KINDS,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED,
    CLEANED_ITEMS,
    EXTRACT_FOLDER,
    INGESTED_FOLDER,
    INGESTED_ITEMS,
    ITEMS,
    PART_KINDS,
    PARTS,
    SAMPLES,
    SHARDS_FOLDER,
)
from pipeline.tables.database import open_database
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import identify_table, write_table
from shardwright.datasets.shard_dataset import ShardDataset

ROOT = Path(__file__).parents[2]
MEDIA_TYPES = {"image": "image/png", "audio": "audio/wav", "text": "text/plain", "video": "video/mp4"}
CACHE_BYTES = 1 << 30
ENDINGS = {"image": "png", "audio": "wav", "text": "txt", "video": "mp4"}
USUAL = ("image", "audio", "text")
"""The modalities of a thing by default: a video takes as long to make as a hundred of these."""

Kinds = Mapping[str, PartKind]

PLAIN: Kinds = {name: PartKind(name) for name in MEDIA_TYPES}


@dataclass(frozen=True)
class Thing:
    """A future sample: `modalities` names its parts, one as often as it has items. `contents` are the bytes of items by
    part, those after the first as `text1`; the others are drawn from its key."""

    key: str
    split: str = "train"
    label: str | None = "one"
    modalities: tuple[str, ...] = USUAL
    contents: Mapping[str, bytes] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    spans: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)


def make_things(count: int, **changes: Any) -> list[Thing]:
    """Return `count` complete samples, three of four in train, with two labels."""
    splits = ("train", "train", "val", "train", "train", "train", "test", "train")
    labels = ("one", "two")
    return [Thing(f"thing-{number:03d}", splits[number % 8], labels[number % 2], **changes) for number in range(count)]


def draw_item(key: str, modality: str) -> bytes:
    """Return a small image, audio, text or video, a different one for each key."""
    rng = np.random.default_rng(list(hashlib.sha256(f"{key} {modality}".encode()).digest()))
    match modality:
        case "image":
            import cv2

            pixels = rng.integers(0, 256, (int(rng.integers(10, 30)), 20, 3), dtype=np.uint8)
            return bytes(cv2.imencode(".png", pixels)[1])
        case "audio":
            import soundfile

            file = io.BytesIO()
            waveform = rng.normal(0, 0.1, int(rng.integers(1000, 6000)))
            soundfile.write(file, waveform, 8000, format="WAV", subtype="PCM_16")
            return file.getvalue()
        case "video":
            from tests.support.factory_video import draw_frames, encode_video

            return encode_video(draw_frames(4, int(rng.integers(1 << 30))), "video/mp4")
        case _:
            words = ("a", "red", "green", "loud", "quiet", "bird", "machine")
            return " ".join(rng.choice(words, 6)).encode()


def write_corpus(data: Path, things: Sequence[Thing], kinds: Kinds = PLAIN) -> None:
    """Write the tar of items and the tables that `extract` reads."""
    with TarStore(data / INGESTED_FOLDER, INGESTED_FOLDER, "items") as store:
        rows = {
            (thing.key, name, at): _make_item(thing, f"{name}{at or ''}", kinds[name].modality, store)
            for thing in things
            for name, at in _number_parts(thing)
        }
    ordered = sorted(rows.values(), key=lambda row: str(row["id"]))
    numbers = {row["id"]: number for number, row in enumerate(ordered)}
    refers = write_items(data, ordered)
    things = sorted(things, key=lambda thing: (thing.split, hashlib.sha256(thing.key.encode()).digest()))
    samples = [
        {"key": thing.key, "split": thing.split, "label": thing.label, "group": f"group of {thing.key}"}
        for thing in things
    ]
    write_table(data / ALIGNED_SAMPLES, samples, SAMPLES)
    parts = [
        {
            "sample": number,
            "part": name,
            "position": at,
            "item": numbers[rows[thing.key, name, at]["id"]],
            "start": thing.spans.get(name, (None, None))[0],
            "end": thing.spans.get(name, (None, None))[1],
        }
        for number, thing in enumerate(things)
        for name, at in _number_parts(thing)
    ]
    described = [{"part": name, **asdict(kind)} for name, kind in kinds.items()]
    write_table(data / ALIGNED_PART_KINDS, described, PART_KINDS)
    refers |= {ALIGNED_PART_KINDS: identify_table(data / ALIGNED_PART_KINDS)}
    write_table(data / ALIGNED_PARTS, parts, PARTS, refers)


def _number_parts(thing: Thing) -> list[tuple[str, int]]:
    """Return the part of each item of a sample, and its place there."""
    return [(name, thing.modalities[:place].count(name)) for place, name in enumerate(thing.modalities)]


def write_items(data: Path, rows: Sequence[Row]) -> dict[str, str]:
    """Write the ingested and the cleaned table of items that have the columns of both, ordered by id; return what other
    tables refer to."""
    write_table(data / INGESTED_ITEMS, ({name: row[name] for name in ITEMS} for row in rows), ITEMS)
    refers = {INGESTED_ITEMS: identify_table(data / INGESTED_ITEMS)}
    cleaned = [
        {name: row[name] for name in CLEANED if name in row}
        | {"item": number, "exact_cluster": number, "near_cluster": number}
        for number, row in enumerate(rows)
    ]
    write_table(data / CLEANED_ITEMS, cleaned, CLEANED, refers)
    return refers


def _make_item(thing: Thing, name: str, modality: str, store: TarStore) -> Row:
    plain = name == modality
    content = thing.contents.get(name) or draw_item(thing.key if plain else f"{thing.key} {name}", modality)
    file = f"{thing.key}.{ENDINGS[modality]}" if plain else f"{thing.key}.{name}.{ENDINGS[modality]}"
    location = store.write(file, content)
    sha256 = hashlib.sha256(content).hexdigest()
    row: Row = dict.fromkeys([*ITEMS, *CLEANED])
    row |= {"id": hashlib.sha256(f"{sha256} {file}".encode()).hexdigest(), "source": "folder", "file": file, "part": ""}
    row |= {"modality": modality, "media_type": MEDIA_TYPES[modality], "licence": "CC0", "attribution": "nobody"}
    row |= {"sha256": sha256, "tar": location.tar, "offset": location.offset, "size": location.size}
    return row | {"redactions": 0} | dict(thing.columns)


def make_params(**changes: Any) -> ExtractParams:
    """Return the block of `params.yaml` with small features, and `modality__key=value` changed."""
    block = read_effective_params(ROOT / "params.yaml")["extract"]
    block["image"] |= {"height": 12, "width": 16}
    block["audio"] |= {"rate": 8000, "seconds": 0.5, "coefficients": 8, "mels": 16, "fft": 256, "hop": 128}
    block["text"] |= {"length": 5, "min_count": 1, "min_known": 0.0}
    block["video"] |= {"frames": 3, "height": 12, "width": 16}
    for name, value in changes.items():
        *path, key = name.split("__")
        target = block
        for part in path:
            target = target[part]
        target[key] = value
    return check_block({"extract": block}, "extract", ExtractParams)


def make_run(cache: Path, workers: int = 0, **more: Any) -> RunParams:
    """Return the block `run` with a cache."""
    given = {"memory": "1 GiB", "cache": str(cache), "cache_bytes": CACHE_BYTES, "progress": False}
    return RunParams.model_validate({"workers": workers, **given, **more})


def run_extract(folder: Path, params: ExtractParams, workers: int = 0, **more: Any) -> Outcome:
    """Run the step on `folder / "data"`, publish its outputs, and return the outcome. `more` goes to `make_run`."""
    with open_workspace("extract", folder / "data", make_run(folder / "cache", workers, **more)) as workspace:
        outcome = extract(params, workspace)
        outcome.check()
        publish(workspace, [EXTRACT_FOLDER, SHARDS_FOLDER])
    return outcome


def extract_things(
    folder: Path, things: Sequence[Thing], params: ExtractParams | None = None, workers: int = 0
) -> Path:
    """Write a corpus, extract it, and return the folder of the shards."""
    write_corpus(folder / "data", things)
    run_extract(folder, params or make_params(), workers)
    return folder / "data" / SHARDS_FOLDER


def read_all(root: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    """Return the samples of a split by key."""
    data = ShardDataset(root, split)
    return {sample["key"]: sample for sample in (data[number] for number in range(len(data)))}


def plan_tasks(folder: Path, params: ExtractParams) -> list[ShardTask]:
    """Return the tasks for the corpus in `folder / "data"`; shards and cache go below `folder / "work"`."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / SHARDS_FOLDER).mkdir(parents=True)
    run, executor = make_run(work / "cache"), SerialExecutor()
    folders = ExtractFolders(folder / "data", work / "cache", work)
    with open_database(work, run) as database:
        corpus = plan_corpus(database, folders, params)
        build = DatasetBuild(database, corpus, folders, run, ObjectUse())
        build.compute_missing(executor)
        return list(build.plan_shard_tasks(work / SHARDS_FOLDER, build.write_learned(work / SHARDS_FOLDER, executor)))
