"""Define the options of reading batches, and choose the threads and the cache that are left to the loader."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shardwright.datasets.base import SampleSource
from shardwright.loading.batch_reader import OnError
from shardwright.loading.device import count_bytes, fits_device, fits_memory
from shardwright.storage.memory_limit import find_memory_limit

if TYPE_CHECKING:
    import torch

Cache = Literal["auto", "device", "memory"]
SMALL_BATCH = 2 << 20
"""Bytes of a batch below which a thread costs more than it hides, see `choose_threads`."""
COPYING_THREADS = 2
DECODING_THREADS = 4
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class StreamOptions:
    """How batches are read; no option changes their contents. Attributes: see `Loader`."""

    threads: int
    processes: int = 0
    timeout: float | None = None
    on_error: OnError = "raise"
    device: "str | torch.device" = "cpu"
    cache: Cache | None = None

    def __post_init__(self) -> None:
        for name, number in (("threads", self.threads), ("processes", self.processes)):
            if number < 0:
                raise ValueError(f"{name} is {number}; it must be at least 0")
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f'on_error is {self.on_error!r}; it must be "raise" or "skip"')
        if self.cache not in (None, "auto", "device", "memory"):
            raise ValueError(f'cache is {self.cache!r}; it must be None, "auto", "device" or "memory"')
        if self.processes and self.cache is not None:
            raise ValueError(
                f"cache is {self.cache!r} and processes is {self.processes}; a cache is memory of this process, so use "
                "threads, not processes, with it"
            )
        if self.timeout is not None and not self.processes:
            raise ValueError(
                f"timeout is {self.timeout:g} and processes is 0; only processes can be ended, so set processes, or "
                "leave timeout out"
            )


def choose_cache(data: SampleSource, cache: Cache | None, device: "torch.device") -> Literal["device", "memory"] | None:
    """Return where samples are cached.

    "auto" is the device if the samples fit into half of its free memory, else this machine's memory likewise.

    Raises:
        ValueError: the samples differ between epochs, so they cannot be cached on a device.
    """
    if cache == "device" and not data.fixed:
        raise ValueError(
            'cache is "device", which would keep the first result of a transform for all epochs; use cache="memory", '
            "which caches the samples before the transform"
        )
    if cache == "device" and data.is_collated:
        raise ValueError(
            'cache is "device", which keeps one shape for all samples; use cache="memory" with ops.Pad and ops.Ragged'
        )
    if cache != "auto":
        return cache
    if data.fixed and not data.is_collated and fits_device(data, device):
        return "device"
    return "memory" if fits_memory(data) else None


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
    varies = any(field.varies for field in data.fields.values())
    decoded = data.is_decoding or varies or not (arrays_only or data.transforms)
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
