"""Settings for all tests: no time limits on single examples (machines are busy), the same examples on every run."""

import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.demo_run import Run

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Started as a background job, as CI may do, this process ignores Ctrl-C and would hand that on to all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """The demo, run as far as the shards; for reading only."""
    from tests.support.demo_run import Run  # with the whole pipeline, which tests of the shards do without

    return Run(tmp_path_factory.mktemp("demo"))
