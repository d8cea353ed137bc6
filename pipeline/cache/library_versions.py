"""The versions of what a module of ours stands on: a feature that another release computed is another feature."""

import platform
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from pipeline.cache.module_sources import PACKAGES, find_imports, find_source_files

DISTRIBUTIONS = {
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "yaml": ("PyYAML",),
}
"""Where a package is not imported by the name that it is installed by."""

VECTOR_FLAGS = ("sse", "ssse", "avx", "amx", "fma", "f16c", "neon", "asimd", "sve")
"""How the names of instructions begin that NumPy, OpenCV and the others choose their code by."""


@cache
def read_versions(module: str) -> dict[str, str]:
    """The version of each library that the module imports, at any depth, by its distribution's name."""
    names = [name for package in find_libraries(module) for name in DISTRIBUTIONS.get(package, (package,))]
    return read_installed(names)


def read_installed(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of these distributions that are installed."""
    installed = {}
    for name in sorted(names):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a package that is only used where it is there, or one of several names
    return installed


def find_libraries(module: str) -> list[str]:
    """The packages, neither ours nor Python's own, that our code behind `module` imports anywhere, sorted."""
    imported = {name.split(".")[0] for path in find_source_files(module) for name in find_imports(Path(path))}
    return sorted(imported - set(PACKAGES) - sys.stdlib_module_names)


@cache
def describe_machine() -> dict[str, str]:
    """What else decides the bits of a feature: Python, Unicode's tables, and the type of processor.

    Floating-point features are promised equal on one type of processor; computers of several types may share a cache.
    """
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "unicode": unicodedata.unidata_version,
        "machine": platform.machine(),
        "vectors": " ".join(_read_vector_flags(Path("/proc/cpuinfo"))),
    }


def _read_vector_flags(path: Path) -> list[str]:
    """The vector instructions of the first processor that the file lists; none where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return sorted({flag for flag in flags.split() if flag.startswith(VECTOR_FLAGS)})
