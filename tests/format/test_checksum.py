"""Every library computes the same crc32 as zlib, and the fastest one is used."""

import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.format.checksum import LOADERS, Crc32, compute_crc32, load_functions

FUNCTIONS = dict(load_functions())


def test_the_development_packages_include_every_library() -> None:
    assert tuple(FUNCTIONS) == tuple(LOADERS)


def test_the_first_library_that_is_installed_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compute_crc32 is FUNCTIONS["isal"]
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    assert next(load_functions()) == ("zlib_ng", FUNCTIONS["zlib_ng"])
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    assert next(load_functions()) == ("zlib", zlib.crc32)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@given(data=st.binary(max_size=2000), before=st.binary(max_size=200), start=st.integers(0, 2**32 - 1))
def test_values_and_running_values_are_those_of_zlib(function: Crc32, data: bytes, before: bytes, start: int) -> None:
    assert function(data) == zlib.crc32(data)
    assert function(data, start) == zlib.crc32(data, start)
    assert function(data, function(before)) == zlib.crc32(before + data)


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("size", [65_537, 4_000_003])
def test_large_buffers_of_any_alignment(function: Crc32, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    for start in (0, 1, 13):
        view = memoryview(data)[start:]
        assert function(view) == function(view.tobytes()) == zlib.crc32(view)
        assert function(view[1000:], function(view[:1000])) == zlib.crc32(view)
