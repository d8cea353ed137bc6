"""This project: declared operations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.media.by_hand import FRAMES, FUNCTIONS, LONGEST, RATE, SPAN
from benchmarks.media.reading import Epoch, Reading, read_members
from benchmarks.media.sets import SIDE, list_tars
from shardwright import Field, Loader, ShardDataset, ShardWriter, ops

OPERATIONS: Mapping[str, Callable[[Reading], Any]] = {
    "images": lambda reading: ops.Image(ops.RandomResizedCrop(SIDE)),
    "stored": lambda reading: ops.Image(ops.Resize(SIDE)),
    "audio": lambda reading: ops.Audio(ops.RandomSpan(SPAN), rate=RATE, features=ops.LogMel(80)),
    "video": lambda reading: ops.Frames(FRAMES, ops.RandomSpan(SPAN), ops.Resize(SIDE)),
    "text": lambda reading: ops.Pad(ops.Tokens(reading.tokenizer, longest=LONGEST)),
}
"""By medium."""


def open_tars(reading: Reading, **options: Any) -> Epoch:
    """Files in WebDataset tars; `options` are those of the loader."""
    data = open_files(reading).decode(media=OPERATIONS[reading.medium](reading))
    return count_samples(Loader(data, reading.files.batch, shuffle=True, **options))


def open_function(reading: Reading, function: str, **options: Any) -> Epoch:
    """A user's function on the bytes of the files."""

    def transform(sample: dict[str, Any], rng: Any) -> dict[str, Any]:
        return {"media": FUNCTIONS[function](sample["media"])}

    data = open_files(reading, decode=None).with_transform(transform)
    return count_samples(Loader(data, reading.files.batch, shuffle=True, **options))


def open_packed(reading: Reading, row: int, **options: Any) -> Epoch:
    """Texts packed into rows, which have no padding to speak of."""
    data = open_files(reading).decode(media=ops.Tokens(reading.tokenizer, longest=LONGEST)).pack("media", row)
    loader = Loader(data, 8, shuffle=True, **options)
    return lambda: (int(batch["document"].amax(1).sum()) for batch in loader)


def open_shards(reading: Reading, **options: Any) -> Epoch:
    """Our own shards, with JPEG files as they are (`store: jpeg`)."""
    data = ShardDataset(reading.folder, "train")
    return count_samples(Loader(data, reading.files.batch, shuffle=True, **options))


def open_files(reading: Reading, **options: Any) -> Any:
    members, cache = {"media": reading.files.suffix}, reading.folder.parent / "indexes"
    return ShardDataset.from_webdataset(list_tars(reading.folder), members=members, cache=cache, **options)


def count_samples(loader: Loader) -> Epoch:
    return lambda: (int(batch["valid"].sum()) for batch in loader)


def write(reading: Reading, target: Path) -> None:
    """Write images of one size as shards of our own."""
    fields = {"image": Field("uint8", (SIDE, SIDE, 3), axes="HWC", encoding="jpeg")}
    with ShardWriter(target, "train", fields, 512) as writer:
        for number, content in enumerate(read_members(list_tars(reading.folder), reading.files.suffix)):
            writer.write(f"{number:09d}", {"image": content})
