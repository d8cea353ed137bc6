"""Resume from saved states in a separate process: `python -m tests.support.loader.resuming`, with a job as JSON on
stdin."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shardwright import Loader, ShardDataset
from shardwright.loading.loader import Order
from shardwright.remote.location import Access
from tests.support.loader.sets import BLOCKS, draw_numbers, interleave

CHECKOUT = Path(__file__).parents[3]
GLOBAL_BATCH = 12
SEED = 7
Stream = list[tuple[str, int]]
"""Keys and random numbers of the valid samples of all ranks, in the order of the epoch."""


@dataclass(frozen=True)
class Way:
    """How an epoch is read; the global batch and all other options are the same for all."""

    order: Order
    threads: int | None = 0
    world_size: int = 1
    access: Access = "map"


def open_ranks(root: str | Path, way: Way) -> list[Loader]:
    data = ShardDataset(root, "train", access=way.access).with_transform(draw_numbers)
    return [
        Loader(
            data,
            GLOBAL_BATCH // way.world_size,
            shuffle=way.order,
            seed=SEED,
            rank=rank,
            world_size=way.world_size,
            threads=way.threads,
            blocks=BLOCKS,
        )
        for rank in range(way.world_size)
    ]


def read_steps(loaders: Sequence[Loader]) -> Iterator[Stream]:
    """Yield the samples of each step, of all ranks together."""
    for step in zip(*loaders, strict=True):
        ranks = [zip(batch["key"], batch["draw"].tolist(), batch["valid"].tolist(), strict=True) for batch in step]
        yield [(key, draw) for key, draw, valid in interleave([list(rank) for rank in ranks]) if valid]


def digest(stream: Stream) -> str:
    return hashlib.sha256(json.dumps(stream).encode()).hexdigest()


def resume(root: str | Path, way: Way, states: Sequence[dict[str, Any]]) -> list[str]:
    """Return the digest of the rest of the epoch, for each state."""
    loaders = open_ranks(root, way)
    digests = []
    for state in states:
        for loader in loaders:
            loader.load_state_dict(state)
            loader.set_epoch(state["epoch"])
        digests.append(digest([sample for step in read_steps(loaders) for sample in step]))
    return digests


def resume_in_a_new_process(root: Path, jobs: Sequence[tuple[Way, Sequence[dict[str, Any]]]]) -> list[list[str]]:
    """See `resume`: for each way and its states, in one process that gets only the files and the states."""
    job = json.dumps({"root": str(root), "jobs": [(asdict(way), states) for way, states in jobs]})
    command = [sys.executable, "-m", "tests.support.loader.resuming"]
    run = subprocess.run(command, cwd=CHECKOUT, input=job, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    digests: list[list[str]] = json.loads(run.stdout)
    return digests


def main() -> None:
    job = json.load(sys.stdin)
    json.dump([resume(job["root"], Way(**way), states) for way, states in job["jobs"]], sys.stdout)


if __name__ == "__main__":
    main()
