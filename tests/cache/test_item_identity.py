"""Fingerprints in the item cache: all that decides a result changes them, and nothing else does."""

import os
import subprocess
import sys
from typing import Any

import pytest

from pipeline.cache.cache_key import hash_item, hash_method, hash_span
from pipeline.cache.check_entries import compute_check
from pipeline.cache.feature_entries import compute_entry
from pipeline.cache.library_versions import find_libraries, read_versions
from pipeline.modalities.table import MODALITIES
from tests.support.running import ROOT


def test_whatever_decides_changes_the_fingerprint() -> None:
    check, extract = MODALITIES["image"].check, MODALITIES["image"].extract
    sound = MODALITIES["audio"].extract
    plain = ("features", [extract], {"a": 1}, ())
    others: list[tuple[str, list[Any], dict[str, Any], tuple[str, ...]]] = [
        ("checks", [extract], {"a": 1}, ()),
        ("features", [sound], {"a": 1}, ()),
        ("features", [extract, sound], {"a": 1}, ()),
        ("features", [extract], {"a": 2}, ()),
        ("features", [extract], {"a": 1, "b": None}, ()),
        ("features", [extract], {"a": 1}, ("pytest",)),
    ]
    assert len({hash_method(*known) for known in [plain, *others]}) == 1 + len(others)
    assert hash_method(*plain) == hash_method("features", [check], {"a": 1}, ("not-installed",))
    items = [
        (bytes(32), bytes(32), "image/png", 1),
        (b"x" * 32, bytes(32), "image/png", 1),
        (bytes(32), b"x" * 32, "image/png", 1),
        (bytes(32), bytes(32), "image/jpeg", 1),
        (bytes(32), bytes(32), "image/png", 2),
    ]
    spans = [(None, None), (0.0, None), (None, 0.0), (0.0, 1.0), (1.0, 2.0)]
    prints = {hash_span(hash_item(*item), *span) for item in items for span in spans}
    assert len(prints) == len(items) * len(spans)


def test_fingerprints_are_the_same_in_every_process() -> None:
    program = (
        "from pipeline.cache.cache_key import hash_method\n"
        "from pipeline.modalities.table import MODALITIES\n"
        "print(*[hash_method('x', [m.extract, m.check], {'b': [1], 'a': 2}, m.libraries).hex()"
        " for m in MODALITIES.values()])"
    )
    environments = [{"PYTHONHASHSEED": seed, "LC_ALL": "C", "PATH": os.environ["PATH"]} for seed in ("1", "2")]
    said = [
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        for env in environments
    ]
    assert said[0].stdout == said[1].stdout
    assert len(set(said[0].stdout.split())) == len(MODALITIES)


@pytest.mark.parametrize("name", MODALITIES)
def test_what_a_modality_runs_is_in_its_fingerprint(name: str) -> None:
    modality = MODALITIES[name]
    if modality.learning is None:
        assert modality.check.__module__ == modality.extract.__module__ == f"pipeline.modalities.{name}.modality"
    computes = modality.learning.parse if modality.learning else modality.extract
    libraries = {"image": {"cv2", "numpy"}, "audio": {"soundfile", "soxr", "numpy"}, "text": {"spacy"}}
    assert set(find_libraries(computes.__module__)) >= libraries.get(name, set())
    assert len(read_versions(computes.__module__)) >= len(libraries.get(name, set()))


def test_what_encodes_is_in_the_fingerprint_of_shards_alone() -> None:
    learning = MODALITIES["text"].learning
    assert learning is not None
    assert set(find_libraries(learning.encode.__module__)) >= {"tokenizers", "numpy"}
    assert "tokenizers" not in find_libraries(learning.parse.__module__)


def test_a_modality_has_nothing_of_another_in_its_fingerprint() -> None:
    from pipeline.cache.module_sources import find_source_files

    for module in (compute_entry.__module__, compute_check.__module__):
        for name in MODALITIES:
            assert not [path for path in find_source_files(module) if path.startswith(f"pipeline/modalities/{name}/")]
    assert "pipeline/modalities/audio/mfcc.py" not in find_source_files("pipeline.modalities.image.modality")
