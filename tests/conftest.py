"""Settings for all tests: no time limits on examples, which a busy machine may miss, and the same ones on every run."""

import fcntl
import itertools
import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.demo_run import Run

ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", ANY_MACHINE, derandomize=True, max_examples=50)
settings.register_profile("thorough", ANY_MACHINE, max_examples=500, database=None)  # `make sweep`: others every time
settings.load_profile("steady")

# Started as a background job, as CI may do, this process ignores Ctrl-C and would hand that on to its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


def claim_numba_folder() -> None:
    """Give this process a folder of its own for what numba compiles, by a lock that it holds until it ends.

    Tests compute features outside of stages, whose lock they do not have (`lock_compiled_functions`).
    """
    for number in itertools.count():
        folder = Path(__file__).parents[1] / ".cache/numba-of-tests" / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".session", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
        return


claim_numba_folder()

SLOW_MODULE = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow", re.MULTILINE)
PROCESS_EVENTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forbid-processes", action="store_true", help="fail a test that starts a process")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--forbid-processes"):
        sys.addaudithook(_refuse_process)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow modules out of `make quick` unread: importing what they need takes a third of its time."""
    if config.getoption("--forbid-processes") and collection_path.name.startswith("test_"):
        return True if SLOW_MODULE.search(collection_path.read_text(encoding="utf-8")) else None
    return None


def _refuse_process(event: str, _: tuple[object, ...]) -> None:
    if event in PROCESS_EVENTS:
        raise RuntimeError(f"{event} in a quick test: mark its module with `pytestmark = pytest.mark.slow`")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """The demo, run as far as the shards; for reading only."""
    from tests.support.demo_run import Run  # imports the whole pipeline, which tests of the shards need not

    return Run(tmp_path_factory.mktemp("demo"))
