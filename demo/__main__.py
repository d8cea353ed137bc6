"""Serve the demo corpus to a person: `python -m demo`, until Ctrl-C."""

import argparse
import contextlib
import sys
import threading

from demo.options import DemoOptions
from demo.plan import plan_site
from demo.server import serve_site
from pipeline.config.check_params import check_block
from pipeline.errors import ParamsError


def main() -> None:
    """Read the arguments, print the address, serve."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Browse the demo corpus.")
    parser.add_argument("--things", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    options = {"things": arguments.things, "seed": arguments.seed, "slow_seconds": 5.0}
    try:
        site = plan_site(check_block({"demo": options}, "demo", DemoOptions))
    except ParamsError as error:
        parser.error(str(error).removeprefix("params.yaml: "))
    with serve_site(site, arguments.port) as server, contextlib.suppress(KeyboardInterrupt):
        sys.stdout.write(f"http://{server.address}/ (Ctrl-C ends it)\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
