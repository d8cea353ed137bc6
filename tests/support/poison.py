"""Tasks whose items kill, hang or outgrow their process; for tests and benchmarks.

`Items` is the least that a task can be; `PoisonChunk` stores what it computes, as the tasks of clean and extract do.
"""

import ctypes
import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from pipeline.incremental.compute_chunk import Chunk, ChunkResult, compute_chunk
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import Entry
from pipeline.runtime.sandbox.heartbeat import watch_items
from pipeline.tables.drops import Reason, Rejection


def fall() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def grow() -> None:
    grown = []
    while True:
        grown.append(b"x" * (16 << 20))


def ask_too_much() -> None:
    bytearray(1 << 60)


def loop() -> None:
    while True:
        pass


def hold_the_interpreter() -> None:
    ctypes.PyDLL(None).sleep(600)


def loop_in_c() -> None:
    re.match("(a|a)*b", "a" * 60)


POISONS: Mapping[str, tuple[Callable[[], object], Reason, str]] = {
    "falls": (fall, Reason.DECODER_CRASHED, "SIGSEGV"),
    "aborts": (os.abort, Reason.DECODER_CRASHED, "SIGABRT"),
    "leaves": (leave, Reason.DECODER_CRASHED, "exit status 3"),
    "is killed": (lambda: os.kill(os.getpid(), signal.SIGKILL), Reason.MEMORY, "SIGKILL"),
    "grows": (grow, Reason.MEMORY, ""),
    "asks too much": (ask_too_much, Reason.MEMORY, ""),
    "loops": (loop, Reason.TIMEOUT, ""),
    "holds the interpreter": (hold_the_interpreter, Reason.TIMEOUT, ""),
    "loops in C": (loop_in_c, Reason.TIMEOUT, ""),
}
"""What a poison does, its reason in the dropped table, and the row's value."""


@dataclass(frozen=True)
class Items:
    """A task, with what each of its items does: `seconds` of work, and a line in `folder` if there is one.

    With `unwatched`, the function does not report the item it is at.
    """

    name: str
    kinds: Sequence[str]
    seconds: float = 0.0
    folder: Path | None = None
    unwatched: bool = False
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    def count_items(self) -> int:
        return len(self.kinds)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        return replace(self, lost=lost)


def work_on(task: Items) -> list[str | Rejection]:
    """Return a result for each item, in their order."""
    kinds = task.kinds if task.unwatched else watch_items(task.kinds)
    return [
        task.lost[number] if number in task.lost else _work(task, number, kind) for number, kind in enumerate(kinds)
    ]


@dataclass(frozen=True, eq=False, kw_only=True)
class PoisonChunk(Chunk):
    """Items as of `Items`; what is computed of one is its name. Each leaves a line in `folder`, if there is one."""

    cache: Path
    work: Path
    seconds: float = 0.0
    folder: Path | None = None


def make_chunk(
    name: str, kinds: Sequence[str], cache: Path, seconds: float = 0.0, folder: Path | None = None
) -> PoisonChunk:
    """A chunk of new items, on a cache of which there is the folder `work`."""
    import pyarrow as pa

    numbers = range(len(kinds))
    keys = [hashlib.sha256(f"{name}-{number}".encode()).digest() for number in numbers]
    files = [f"{name}-{number}" for number in numbers]
    constant = {column: [text] * len(kinds) for column, text in (("source", "test"), ("part", ""))}
    rows = {"number": list(numbers), "kind": list(kinds), "file": files, **constant}
    return PoisonChunk(
        name=name,
        rows=pa.table({**rows, "key": pa.array(keys, pa.binary(32))}),
        cache=cache,
        work=cache / "work",
        seconds=seconds,
        folder=folder,
    )


def compute_poison(task: PoisonChunk) -> ChunkResult:
    """Work on the items, and store the names of the good ones."""
    return compute_chunk(
        task,
        ObjectStore(task.cache, task.work),
        lambda row, key: Entry(key, [_work(task, row["number"], row["kind"]).encode()]),
    )


def _work(task: Items | PoisonChunk, number: int, kind: str) -> str:
    if task.folder:
        with (task.folder / f"{task.name}-{number}").open("a") as file:
            file.write("x")
    until = time.thread_time() + task.seconds
    while time.thread_time() < until:
        pass
    if kind == "waits":  # slow, and within the limit of three seconds
        Path("waits").mkdir()
        Path("waits/here").touch()
        time.sleep(0.5)
    if kind == "first falls" and task.folder and (task.folder / f"{task.name}-{number}").stat().st_size == 1:
        fall()
    if kind in POISONS:
        POISONS[kind][0]()
    return f"{task.name}-{number}"
