"""Make PyTorch compute the same bits on every run on the same machine, and choose its device."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import InputError


@contextmanager
def deterministic_mode(seed: int, threads: int) -> Iterator[None]:
    """Seed the random numbers, allow deterministic kernels only, and fix the number of CPU threads.

    Another number of threads sums in another order and gives other bits. Everything is restored at the end.

    On CUDA, cuBLAS is deterministic only with a fixed workspace, which it reads from the environment when it starts
    (docs.nvidia.com/cuda/cublas, Results Reproducibility).
    """
    threads_before = torch.get_num_threads()
    deterministic_before = torch.are_deterministic_algorithms_enabled()
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            torch.manual_seed(seed)
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(True)
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic_before)
            torch.set_num_threads(threads_before)


def choose_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu` or `cuda`; `auto` is the GPU if there is one.

    Raises:
        InputError: `cuda`, and PyTorch finds no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("train.device is cuda, but PyTorch finds no GPU: set it to auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
