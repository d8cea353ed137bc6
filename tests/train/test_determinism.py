"""The deterministic mode makes the same random numbers, and leaves the process as it was."""

import torch

from pipeline.models.determinism import deterministic_mode


def test_deterministic_mode_restores_the_process() -> None:
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.random.get_rng_state())
    numbers = []
    for _ in range(2):
        with deterministic_mode(seed=3, threads=1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == 1
            numbers.append(torch.rand(4))
    assert torch.equal(*numbers)
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
