"""Test the OGG files of the demo: a fixed serial number and a correct checksum."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from demo.media import OGG_SERIAL, compute_ogg_crc, encode_ogg, set_ogg_serial

pytestmark = pytest.mark.slow


def compute_crc_bit_by_bit(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


@given(st.binary(max_size=200))
def test_ogg_crc_equals_the_definition_of_the_rfc(page: bytes) -> None:
    assert compute_ogg_crc(page) == compute_crc_bit_by_bit(page)


def test_ogg_files_are_the_same_each_time_and_decode() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (30_000, 2))
    first, again = encode_ogg(samples, 22050, "a comment"), encode_ogg(samples, 22050, "a comment")
    assert first == again
    assert set_ogg_serial(first, 7) != first
    assert set_ogg_serial(set_ogg_serial(first, 7), OGG_SERIAL) == first
    decoded, rate = soundfile.read(io.BytesIO(first))
    assert rate == 22050
    assert decoded.shape == samples.shape
