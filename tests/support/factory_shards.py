"""Make toy shards as the stage extract writes them: small, seeded, and with classes that can be learned."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shardwright import Field, FileRecord, ShardWriter, Statistics, read_manifest, write_manifest
from shardwright.format.canonical_json import encode_canonical

FIELDS = {
    "image": {"image": Field("uint8", (16, 16, 3), axes="HWC")},
    "audio": {"mfcc": Field("float32", (20, 8), axes="TC"), "mfcc_length": Field("int32", ())},
    "text": {"tokens": Field("int32", (6,), axes="T"), "tokens_length": Field("int32", ())},
}
WORDS = ["", "?", *(f"word{n}" for n in range(10))]


@dataclass(frozen=True)
class Toy:
    """The dataset to make: classes, samples of each split, modalities, and those that every third sample lacks."""

    classes: Sequence[str] = ("bell", "drum", "horn", "wind")
    train: int = 48
    val: int = 16
    test: int = 16
    modalities: Sequence[str] = ("image", "audio", "text")
    missing: Sequence[str] = ()
    labels: bool = True
    caption: str = "a thing that sounds"
    samples_per_shard: int = 7


Arrays = dict[str, Any]


def spoil_sample(key: str, arrays: Arrays) -> Arrays:
    """Give one training sample numbers that are finite, but overflow in the model."""
    if key != "train-005":
        return arrays
    return arrays | {"mfcc": np.full((20, 8), np.float32(3e38)) * np.array([1, -1] * 4, np.float32)}


def leave_sample(key: str, arrays: Arrays) -> Arrays:
    return arrays


def make_shards(root: Path, toy: Toy, seed: int = 0, spoil: Callable[[str, Arrays], Arrays] = leave_sample) -> Path:
    """Write the dataset into `root`; each modality tells classes apart, with noise."""
    fields: dict[str, Field] = {}
    for modality in toy.modalities:
        fields |= FIELDS[modality]
    fields |= {f"{modality}_present": Field("uint8", ()) for modality in toy.missing}
    if toy.labels:
        fields["label"] = Field("int64", ())
    rng = np.random.default_rng(seed)
    for split, count in (("train", toy.train), ("val", toy.val), ("test", toy.test)):
        if count == 0:
            continue
        classes = toy.classes if toy.labels else None
        with ShardWriter(root, split, fields, samples_per_shard=toy.samples_per_shard, classes=classes) as writer:
            for number in range(count):
                label = number % len(toy.classes)
                meta = {"label": toy.classes[label], "caption": toy.caption, "file": f"{split}/{number}.png"}
                key = f"{split}-{number:03d}"
                writer.write(key, spoil(key, make_sample(rng, toy, label, number)), meta)
    complete_manifest(root, toy)
    return root


def make_sample(rng: np.random.Generator, toy: Toy, label: int, number: int) -> Arrays:
    frames, tokens = int(rng.integers(5, 21)), int(rng.integers(1, 7))
    mfcc = np.zeros((20, 8), np.float32)
    mfcc[:frames] = rng.normal(size=(frames, 8)) + 2 * (np.arange(8) % 4 == label % 4)
    ids = np.zeros(6, np.int32)
    ids[:tokens] = 2 + (label * 2 + rng.integers(0, 3, tokens)) % 10
    image = rng.integers(0, 100, (16, 16, 3)).astype(np.uint8)
    image[:, :, label % 3] += np.uint8(40 * (1 + label % 2))
    arrays: Arrays = {}
    if "image" in toy.modalities:
        arrays["image"] = image
    if "audio" in toy.modalities:
        arrays |= {"mfcc": mfcc, "mfcc_length": frames}
    if "text" in toy.modalities:
        arrays |= {"tokens": ids, "tokens_length": tokens}
    for modality in toy.missing:
        present = number % 3 != 0
        arrays[f"{modality}_present"] = int(present)
        if not present:
            for name in FIELDS[modality]:
                arrays[name] = np.zeros_like(arrays[name]) if isinstance(arrays[name], np.ndarray) else 0
    if toy.labels:
        arrays["label"] = label
    return arrays


def complete_manifest(root: Path, toy: Toy) -> None:
    """Add what the stage extract adds: statistics, the vocabulary, and the fields of each modality."""
    content = encode_canonical({"words": WORDS})
    (root / "vocabulary.json").write_bytes(content)

    statistics = {
        "image": Statistics((60.0, 60.0, 60.0), (30.0, 30.0, 30.0), 1000),
        "mfcc": Statistics((0.5,) * 8, (1.2,) * 8, 1000),
    }
    manifest = replace(
        read_manifest(root),
        vocabulary=FileRecord("vocabulary.json", hashlib.sha256(content).hexdigest()),
        statistics={name: value for name, value in statistics.items() if name in read_manifest(root).fields},
        extract=json.loads(json.dumps({"modalities": {name: list(FIELDS[name]) for name in toy.modalities}})),
    )
    write_manifest(root, manifest)
