"""Choose how many threads read ahead, from the cores of this process and the work in a batch."""

import multiprocessing
import os
from pathlib import Path

from shardwright.datasets.base import SampleSource
from shardwright.loading.device import count_bytes
from shardwright.storage.memory_limit import find_memory_limit

SMALL_BATCH = 2 << 20
"""Bytes of a batch below which a thread costs more than it hides, see `choose_threads`."""
COPYING_THREADS = 2
DECODING_THREADS = 4
CGROUPS = Path("/sys/fs/cgroup")


def choose_threads(data: SampleSource, batch_size: int, cores: int, windowed: bool = False) -> int:
    """Return the threads that read batches ahead when the user names none.

    - 0 for a small batch of arrays in memory: handing it from thread to thread takes longer than copying it.
    - one a core, at most 4, where fields are decoded: most of that work runs outside Python's lock.
    - one a core, at most 2, for everything else: larger batches, transforms, windows, sets larger than memory.

    On 2 idle cores, batches of 64, warm (`benchmarks/results/loader.md`), samples a second with 0, 1 and 2 threads:
    170 kB a sample 55,500, 43,200, 70,900; 13 kB 263,000, 170,000, 166,000. So a batch took 243 µs without and 385 µs
    with two threads at 0.9 MB, 1,153 and 903 µs at 11 MB: half of the copying, plus some 300 µs. Both are equal where
    copying takes 600 µs, some 5 MB, if nothing else runs; beside a training step threads hide the copying, so the
    limit is below that: 2 MB take 200 to 250 µs. On a busy machine, in turn, a thread cost 70 to 150 µs of CPU time a
    batch of 0.2 to 3 MB, and two threads gave 0.9 times the rate of none at 0.8 MB, 0.9 to 1.5 times at 1.5 to 3 MB. A
    transform of 12 kB samples beside a training step on the CPU: 1.1 times with one thread, 1.3 times with two. More
    than 2 threads were not measured on more than 2 cores.

    Args:
        data: the source to read.
        batch_size: samples a batch.
        cores: cores for this process, see `count_cores`; below 1 counts as 1.
        windowed: whether batches are read through windows, where each member is checked every time.
    """
    names = data.names
    arrays_only = names is not None and set(names) <= data.fields.keys()
    decoded = any(field.varies for field in data.fields.values()) or not (arrays_only or data.transforms)
    if arrays_only and data.is_mapped and not decoded and not windowed:
        bytes_of_all = count_bytes(data)
        small = batch_size * bytes_of_all < SMALL_BATCH * data.count_rows()
        if small and bytes_of_all <= find_memory_limit() // 2:
            return 0
    return min(max(1, cores), DECODING_THREADS if decoded else COPYING_THREADS)


def count_cores(cgroups: Path = CGROUPS) -> int:
    """Return the cores of this process: those of its CPU affinity, or the CPU quota of its container if that is less.

    Args:
        cgroups: where the control groups are mounted; in a container its own group is at the top (version 1 and 2).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroups / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text("ascii") for name in ("quota", "period")
            )
        except OSError:
            return cores
    allowed = int(quota) // int(period) if quota.strip().isdigit() else cores  # "max", or -1 in version 1
    return max(1, min(cores, allowed))


def is_helper_process() -> bool:
    """Return whether this process is one of several that a PyTorch `DataLoader` or a `multiprocessing.Pool` started.

    Those are daemonic; the processes that torchrun or `torch.multiprocessing.spawn` start for ranks are not.
    """
    return multiprocessing.current_process().daemon
