"""Describe what a result depends on besides this project's code: libraries, Python, Unicode tables, type of processor.

This is the one list: cache keys hold it, extract records it beside the dataset, and workers of a cluster must agree
with the driver on it.
"""

import platform
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from pipeline.incremental.module_sources import PACKAGES, find_imports, find_path, find_source_files, read_lazy_names

DISTRIBUTIONS = {
    "cv2": ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "yaml": ("PyYAML",),
}
"""Packages that are imported by another name than they are installed by."""

VECTOR_FLAGS = ("sse", "ssse", "avx", "amx", "fma", "f16c", "neon", "asimd", "sve")
"""Prefixes of the processor flags by which NumPy, OpenCV and the others choose their code."""

PYTHON = "Python"
UNICODE = "Unicode tables"
PROCESSOR = "processor type"
VECTORS = "vector instructions"
"""Names in an environment beside those of distributions, which have no spaces."""


def describe_environment(modules: Iterable[str], libraries: Iterable[str] = ()) -> dict[str, str]:
    """Return by name everything outside this project that may change a result of these modules.

    That is `describe_machine`, and the versions of all libraries that the modules import, at any depth, and of
    `libraries`, further distributions that may be used without being imported here. What is not installed is left out.
    """
    versions: dict[str, str] = {}
    for module in modules:
        versions |= read_versions(module)
    return describe_machine() | versions | read_installed(libraries)


@cache
def read_versions(module: str) -> dict[str, str]:
    """Return the version of each library that the module imports, at any depth, by its distribution's name."""
    names = [name for package in find_libraries(module) for name in DISTRIBUTIONS.get(package, (package,))]
    return read_installed(names)


def read_installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of these distributions that are installed."""
    installed = {}
    for name in sorted(names):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional package, or one of several names
    return installed


def find_libraries(module: str) -> list[str]:
    """Return the packages, neither this project's nor the standard library's, that the code behind `module` imports
    anywhere, sorted."""
    imported = {name.split(".")[0] for path in find_source_files(module) for name in find_imports(Path(path))}
    return sorted(imported - set(PACKAGES) - sys.stdlib_module_names)


@cache
def describe_machine() -> dict[str, str]:
    """Return Python's minor version, the version of the Unicode tables, and the type of processor.

    Floating-point features are promised equal on one type of processor; machines of several types may share a cache.
    """
    return {
        PYTHON: ".".join(platform.python_version_tuple()[:2]),
        UNICODE: unicodedata.unidata_version,
        PROCESSOR: platform.machine(),
        VECTORS: " ".join(_read_vector_flags(Path("/proc/cpuinfo"))),
    }


def _read_vector_flags(path: Path) -> list[str]:
    """Return the vector instructions of the first processor that the file lists; none where there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return sorted({flag for flag in flags.split() if flag.startswith(VECTOR_FLAGS)})


def forget_versions() -> None:
    """Clear what is cached: for a process that outlives a change of the checkout or of the installed libraries."""
    for function in (read_versions, find_imports, read_lazy_names, find_path):
        function.cache_clear()
