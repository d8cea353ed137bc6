"""One pass over a set, in a process of its own that `benchmarks.bench_cold` holds to little memory."""

import argparse
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.support.apart import write_outcome
from benchmarks.support.limits import open_raw
from shardwright import Loader, ShardDataset
from shardwright.loading.window_reader import Blocks

BATCH = 64
RANDOM_BATCHES = 64
"""As many as random order is given: on a slow disk it would go on for long."""

Passes = Mapping[str, Callable[[Path, Blocks], int]]


def read_in_order(folder: Path, blocks: Blocks) -> int:
    """`read()` of the same files, 4 MiB at a time: nothing is checked, nothing is delivered."""
    samples = len(ShardDataset(folder, "train"))
    for _ in open_raw(folder, samples)():
        pass
    return samples


def load_blocks(folder: Path, blocks: Blocks) -> int:
    """Every sample in block order, every member checked, as batches of tensors."""
    loader = Loader(ShardDataset(folder, "train"), BATCH, shuffle="block", blocks=blocks)
    samples = labels = 0
    for batch in loader:
        samples += len(batch["label"])
        labels += int(batch["label"].sum())
    assert (samples, labels) == (len(loader.data), sum(n % 10 for n in range(samples))), "each sample once"
    return samples


def load_at_random(folder: Path, blocks: Blocks) -> int:
    """A few batches in exactly random order, through the memory map."""
    samples = 0
    for number, batch in enumerate(Loader(ShardDataset(folder, "train"), BATCH, shuffle=True)):
        samples += len(batch["label"])
        if number + 1 == RANDOM_BATCHES:
            break
    return samples


PASSES: Passes = {"read": read_in_order, "block": load_blocks, "random": load_at_random}


def count_bytes_read() -> int:
    """Bytes that this process had to fetch from the disk so far."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("read_bytes:")))


def main() -> None:
    """Make one pass and hand over what it took."""
    parser = argparse.ArgumentParser(description="One pass over a set.")
    parser.add_argument("kind", choices=PASSES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--block-bytes", type=int, default=Blocks().size)
    parser.add_argument("--blocks-per-window", type=int, default=Blocks().per_window)
    parser.add_argument("--ahead", type=int, default=Blocks().ahead)
    options = parser.parse_args()
    import torch  # before the clock starts

    torch.empty(1)
    blocks = Blocks(options.block_bytes, options.blocks_per_window, options.ahead)
    before, start = count_bytes_read(), time.perf_counter()
    samples = PASSES[options.kind](options.folder, blocks)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    write_outcome(
        {
            "samples": samples,
            "seconds": seconds,
            "disk_bytes": count_bytes_read() - before,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
        }
    )


if __name__ == "__main__":
    main()
