"""Fixtures for tests of small models, which threads that busy-wait for a core make 10 times slower."""

from collections.abc import Iterator

import pytest
import torch

from pipeline.models.determinism import deterministic_mode


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One thread, and PyTorch otherwise as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def deterministic() -> Iterator[None]:
    """One thread, and the settings under which the stages compute."""
    with deterministic_mode(seed=0, threads=1):
        yield
