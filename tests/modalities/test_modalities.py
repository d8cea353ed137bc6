"""The contract of every modality in the table: a new row is tested without a new test."""

import inspect
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.check_params import read_effective_params
from pipeline.config.field_docs import describe_fields
from pipeline.formats.type_names import GIF, WEBP
from pipeline.modalities.audio import check as audio
from pipeline.modalities.image import check as image
from pipeline.modalities.modality import Checked, MediaItem, Modality
from pipeline.modalities.table import MODALITIES
from pipeline.modalities.video import formats as video
from pipeline.tables.contracts import CLEANED
from pipeline.tables.contracts import MODALITIES as NAMES
from pipeline.tables.drops import Reason, Rejection
from tests.support.dirty_files import make_dirty_files
from tests.support.factory_media import SECRET, encode_audio, make_tone
from tests.support.factory_video import make_dirty_videos

BLOCKS = read_effective_params(Path(__file__).parents[2] / "params.yaml")
FILES = {
    **make_dirty_files(),
    **make_dirty_videos(),
    "text/plain": b"A tabby cat; ask jane.doe@example.org or +1 (555) 010-0199.",
}
TYPES = {name: [kind for kind in FILES if kind.startswith(name)] for name in NAMES}
CASES = [(name, kind) for name in NAMES for kind in TYPES[name]]
CUTS = [(name, kind) for name, kind in CASES if name != "text"]


def read_block(block: str, name: str) -> Any:
    """The values of `clean.<name>` or `extract.<name>` in their type."""
    modality = MODALITIES[name]
    params_type = modality.check_params if block == "clean" else modality.feature_params
    return params_type.model_validate(BLOCKS[block][name])


def check(name: str, data: bytes, media_type: str) -> Checked | Rejection:
    modality = MODALITIES[name]
    return modality.check(data, media_type, read_block("clean", name))


def learn(modality: Modality[Any, Any], items: list[MediaItem], params: Any) -> Any:
    if modality.learning is None:
        return None
    counts: Counter[str] = Counter()
    for item in items:
        counts.update(modality.learning.count(modality.learning.parse(item, params), params))
    return modality.learning.learn(counts, params)


@pytest.mark.parametrize("name", NAMES)
def test_params_have_exactly_the_keys_of_the_file(name: str) -> None:
    for block in ("clean", "extract"):
        params = read_block(block, name)
        assert list(type(params).model_fields) == list(BLOCKS[block][name])
        describe_fields(type(params))
        assert all(field.description for field in type(params).model_fields.values())


@pytest.mark.parametrize("name", NAMES)
def test_modules_load_nothing_heavy(name: str) -> None:
    source = inspect.getsource(inspect.getmodule(MODALITIES[name].check) or image)
    heavy = ("cv2", "soundfile", "soxr", "spacy", "librosa", "torch", "scipy", "pyarrow", "av")
    assert not [
        line for line in source.splitlines() for lib in heavy if line in (f"import {lib}", f"from {lib} import")
    ]


@pytest.mark.parametrize(("name", "media_type"), CASES)
def test_a_good_file_is_cleaned_once_and_for_all(name: str, media_type: str) -> None:
    checked = check(name, FILES[media_type], media_type)
    assert isinstance(checked, Checked)
    assert SECRET[:8] not in checked.data
    assert b"jane" not in checked.data
    assert set(checked.facts) <= set(CLEANED)
    assert all(type(value) is int for value in checked.facts.values())
    assert 0 <= checked.perceptual_hash.bits < 2**64
    assert len(checked.perceptual_hash.thumbnail) in (0, 256)
    again = check(name, checked.data, media_type)
    assert isinstance(again, Checked)
    assert again.data is checked.data
    assert not again.redactions


@pytest.mark.parametrize(("name", "media_type"), CASES)
def test_extracted_arrays_are_the_planned_fields(name: str, media_type: str) -> None:
    modality = MODALITIES[name]
    params = read_block("extract", name)
    modality.prepare(params)
    checked = check(name, FILES[media_type], media_type)
    assert isinstance(checked, Checked)
    item = MediaItem(checked.data, media_type, checked.facts.get("orientation", 1))
    learned = learn(modality, [item, item], params)
    arrays, again = (modality.extract(item, params, learned) for _ in range(2))
    assert not isinstance(arrays, Rejection)
    assert not isinstance(again, Rejection)
    fields = modality.plan_fields(params)
    assert list(arrays) == list(fields)
    for field_name, field in fields.items():
        value = arrays[field_name]
        assert field.encode(value) == field.encode(again[field_name])
        if field.padding is not None:
            assert isinstance(value, np.ndarray)
            assert np.all(value[int(arrays[f"{field_name}_length"]) :] == field.padding)


@pytest.mark.parametrize("name", NAMES)
def test_no_bytes_are_empty(name: str) -> None:
    rejection = check(name, b"", TYPES[name][0])
    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.EMPTY


@pytest.mark.parametrize(("name", "media_type"), CUTS)
def test_a_file_cut_at_any_of_20_points_is_truncated(name: str, media_type: str) -> None:
    checked = check(name, FILES[media_type], media_type)
    assert isinstance(checked, Checked)
    for end in np.linspace(1, len(checked.data) - 1, 20).astype(int):
        rejection = check(name, checked.data[:end], media_type)
        assert isinstance(rejection, Rejection), end
        # FLAC's frames do not say how long they are: after its headers a cut looks like any damage
        may_be = {Reason.TRUNCATED, Reason.BROKEN} if media_type == "audio/flac" else {Reason.TRUNCATED}
        assert rejection.reason in may_be, (end, rejection)


@pytest.mark.parametrize(("name", "media_type"), CASES)
@settings(max_examples=25)
@given(data=st.data())
def test_damaged_files_are_judged_and_never_crash(name: str, media_type: str, data: st.DataObject) -> None:
    whole = FILES[media_type]
    places = data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), max_size=8))
    damaged = bytearray(whole)
    for at, mask in places:
        damaged[at] ^= mask
    verdict = check(name, bytes(damaged), media_type)
    modality = MODALITIES[name]
    if isinstance(verdict, Checked) and modality.learning is None:
        item = MediaItem(verdict.data, media_type, verdict.facts.get("orientation", 1))
        modality.extract(item, read_block("extract", name), None)
    if isinstance(verdict, Rejection):
        assert verdict.detail


def test_unknown_types_are_named() -> None:
    for name, media_type in (("image", "image/jxl"), ("audio", "audio/x-caf")):
        rejection = check(name, b"GIF89a", media_type)
        assert isinstance(rejection, Rejection)
        assert (rejection.reason, rejection.value) == (Reason.UNSUPPORTED_TYPE, media_type)


def test_types_that_are_taken_are_those_with_a_parser() -> None:
    assert TYPES["image"] == list(image.PARSERS)
    assert sorted(TYPES["audio"]) == sorted(audio.PARSERS)
    assert sorted([*TYPES["video"], GIF, WEBP]) == sorted(video.PARSERS)  # of those, animations


def test_libraries_print_nothing_about_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    jpeg = FILES["image/jpeg"]
    middle = len(jpeg) // 2
    check("image", jpeg[:middle] + bytes(300) + jpeg[middle + 300 :], "image/jpeg")
    check("audio", encode_audio(make_tone(8000, 0.5), 8000, "FLAC")[:-2000], "audio/flac")
    assert capfd.readouterr() == ("", "")
