"""What a reader of figures wants to know of the machine; nothing that names it or the day."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe_machine() -> str:
    """`Intel(R) Xeon(R) Processor, 2 cores, 24 GiB of memory, Linux`."""
    model = platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, {platform.system()}"


def describe_packages(names: Iterable[str]) -> str:
    """`Python 3.11.7, numpy 2.1.3, no torch`."""
    return f"Python {platform.python_version()}, " + ", ".join(map(_describe_package, names))


def _describe_package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"
