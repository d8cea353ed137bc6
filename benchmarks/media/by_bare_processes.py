"""The limit for images: processes that decode, crop and resize, and hand nothing over."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from benchmarks.media.by_hand import FUNCTIONS
from benchmarks.media.reading import WORKERS, Epoch, Reading, read_members
from benchmarks.media.sets import list_tars


def open_processes(reading: Reading, function: str) -> Epoch:
    pool, paths = ProcessPoolExecutor(WORKERS), list_tars(reading.folder)
    shares = [paths[first::WORKERS] for first in range(WORKERS)]
    decode = partial(decode_shards, function=function, suffix=reading.files.suffix)
    return lambda: pool.map(decode, shares)


def decode_shards(paths: Sequence[str], function: str, suffix: str) -> int:
    return sum(FUNCTIONS[function](content).size > 0 for content in read_members(paths, suffix))
