"""Serve every fault in a process of its own: its floods must not take the crawl's time.

    python -m tests.crawl.wire.fault_server TIMES

Prints its address, serves each fault at `/NUMBER-COPY` until its standard input is closed, and then prints by path the
seconds that each request took until its connection was closed, as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crawl.wire.faults import FAULTS
from tests.support.raw_server import serve_raw

ROOT = Path(__file__).parents[3]


def list_paths(times: int) -> dict[str, str]:
    """Return the name of the fault at each path."""
    return {f"/{number}-{copy}": name for number, name in enumerate(FAULTS) for copy in range(times)}


@contextmanager
def serve_faults(times: int) -> Iterator[tuple[str, Callable[[], dict[str, list[float]]]]]:
    """Serve each fault at so many paths; yield the address, and a function that stops and returns what was printed."""
    command = [sys.executable, "-m", "tests.crawl.wire.fault_server", str(times)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), lambda: json.loads(server.communicate()[0])


def main() -> None:
    """Run the server."""
    paths = list_paths(int(sys.argv[1]))
    with serve_raw({path: FAULTS[name][0] for path, name in paths.items()}) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        sys.stdin.read()
    json.dump(server.held, sys.stdout)


if __name__ == "__main__":
    main()
