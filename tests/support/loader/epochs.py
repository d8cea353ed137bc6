"""Read some epochs of small files of each medium, in a separate process:
`python -m tests.support.loader.epochs FOLDER MEDIUM EPOCHS OPTIONS`. Prints as JSON the memory after each epoch."""

import ctypes
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from shardwright import Loader, ShardDataset, encode_jpeg, ops
from shardwright.datasets.base import SampleSource
from tests.support.factory_codecs import CODECS
from tests.support.factory_media import draw_scene, make_tone
from tests.support.factory_video import draw_frames, encode_video
from tests.support.processes import list_children, read_proc
from tests.support.webdataset_tars import write_shards

BATCH = 16
WORDS = [f"w{number}" for number in range(500)]


def make_images() -> list[bytes]:
    return [encode_jpeg(draw_scene(200 + 4 * number, 260, number), 90) for number in range(32)]


def make_audio() -> list[bytes]:
    codecs = ("wav", "flac", "vorbis", "opus", "mp3", "m4a")
    clips = [make_tone(48_000, 1 + number / 10, 2, number) for number in range(4)]
    return [CODECS[codec](clip, 48_000) for codec in codecs for clip in clips]


def make_videos() -> list[bytes]:
    types = ("video/mp4", "video/webm")
    return [encode_video(draw_frames(40, number), media_type) for media_type in types for number in range(4)]


def make_texts() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, int(rng.integers(20, 200)))).encode() for _ in range(300)]


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


FILES: Mapping[str, Callable[[], list[bytes]]] = {
    "images": make_images,
    "nvimgcodec": make_images,
    "audio": make_audio,
    "video": make_videos,
    "text": make_texts,
    "packing": make_texts,
}
"""By medium, what makes its files; all of a set have one suffix, since operations tell formats by the content."""

CROP = ops.RandomResizedCrop(112)
DECODED: Mapping[str, Callable[[SampleSource], SampleSource]] = {
    "images": lambda data: data.decode(bin=ops.Image(CROP, flip=0.5)),
    "nvimgcodec": lambda data: data.decode(bin=ops.Image(CROP, flip=0.5, decoder=ops.NvImageCodec("cpu"))),
    "audio": lambda data: data.decode(bin=ops.Audio(ops.RandomSpan(0.5), features=ops.LogMel(40))),
    "video": lambda data: data.decode(bin=ops.Frames(4, 1.0, CROP, flip=0.5)),
    "text": lambda data: data.decode(bin=ops.Pad(ops.Tokens(make_tokenizer()))),
    "packing": lambda data: data.decode(bin=ops.Tokens(make_tokenizer())).pack("bin", 512),
}
"""By medium, the data that is read."""


def measure() -> int:
    """Return the resident kB of this process and those that it started, freed memory returned."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    statuses = [read_proc(process, "status") for process in (os.getpid(), *list_descendants(os.getpid()))]
    return sum(int(status.partition("RssAnon:")[2].split()[0]) for status in statuses if status and "RssAnon" in status)


def list_descendants(process: int) -> list[int]:
    children = list_children(process)
    return [*children, *(each for child in children for each in list_descendants(child))]


def main() -> None:
    folder, medium, epochs, options = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
    write_shards(folder, [[(f"{number:04d}", {"bin": content}) for number, content in enumerate(FILES[medium]())]])
    data: Any = ShardDataset.from_webdataset(folder, cache=folder / "index", decode=None)
    held = []
    with Loader(DECODED[medium](data), BATCH, shuffle=True, **options) as loader:
        for _ in range(epochs):
            assert sum(int(batch["valid"].sum()) for batch in loader) > 0
            held.append(measure())
    json.dump(held, sys.stdout)


if __name__ == "__main__":
    main()
