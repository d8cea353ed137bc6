"""Cache keys: everything that decides a result changes them, and nothing else does."""

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.clean.check_entry import compute_check
from pipeline.clean.check_items import hash_check
from pipeline.clean.params import CleanParams
from pipeline.clean.step import describe_checks
from pipeline.config.check_params import check_block, read_params
from pipeline.config.params import RunParams
from pipeline.extract import provenance
from pipeline.extract import step as extract_step
from pipeline.extract.feature_entry import compute_entry
from pipeline.incremental import cache_key
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.library_versions import describe_environment, find_libraries, read_versions
from pipeline.incremental.module_sources import find_path, find_source_files
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.check_cluster import Describe
from pipeline.runtime.executor import open_executor
from tests.support.factory_extract import MEDIA_TYPES, Thing, draw_item, make_params, run_extract, write_corpus
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

EVERYTHING: Mapping[str, Any] = {"audio__features": ["mfcc", "mfcc_delta", "mfcc_delta2", "logmel", "loudness"]}
"""So that extract computes all kinds of features."""


def test_everything_that_decides_changes_the_key() -> None:
    plan, extract = MODALITIES["image"].plan_fields, MODALITIES["image"].extract  # of one module
    audio = MODALITIES["audio"].extract
    plain = ("features", [extract], {"a": 1}, ())
    others: list[tuple[str, list[Any], dict[str, Any], tuple[str, ...]]] = [
        ("checks", [extract], {"a": 1}, ()),
        ("features", [audio], {"a": 1}, ()),
        ("features", [extract, audio], {"a": 1}, ()),
        ("features", [extract], {"a": 2}, ()),
        ("features", [extract], {"a": 1, "b": None}, ()),
        ("features", [extract], {"a": 1}, ("pytest",)),
    ]
    assert len({hash_method(*known) for known in [plain, *others]}) == 1 + len(others)
    assert hash_method(*plain) == hash_method("features", [plan], {"a": 1}, ("not-installed",))


def test_keys_are_the_same_in_every_process() -> None:
    program = (
        "from pipeline.incremental.cache_key import hash_method\n"
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
def test_libraries_that_a_modality_uses_are_in_its_key(name: str) -> None:
    modality = MODALITIES[name]
    assert modality.check.__module__ == f"pipeline.modalities.{name}.check"
    if modality.learning is None:
        assert modality.extract.__module__ == f"pipeline.modalities.{name}.features"
    computes = modality.learning.parse if modality.learning else modality.extract
    libraries = {"image": {"cv2", "numpy"}, "audio": {"soundfile", "soxr", "numpy"}, "text": {"spacy"}}
    assert set(find_libraries(computes.__module__)) >= libraries.get(name, set())
    assert len(read_versions(computes.__module__)) >= len(libraries.get(name, set()))


def test_encoding_is_in_the_key_of_shards_alone() -> None:
    learning = MODALITIES["text"].learning
    assert learning is not None
    assert set(find_libraries(learning.encode.__module__)) >= {"tokenizers", "numpy"}
    assert "tokenizers" not in find_libraries(learning.parse.__module__)


def test_no_modality_has_source_of_another_in_its_key() -> None:
    for module in (compute_entry.__module__, compute_check.__module__):
        for name in MODALITIES:
            assert not [path for path in find_source_files(module) if path.startswith(f"pipeline/modalities/{name}/")]
    assert "pipeline/modalities/audio/mel.py" not in find_source_files("pipeline.modalities.image.modality")


def test_workers_are_compared_in_the_whole_environment_of_cache_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What enters the keys of all modalities is what clean and extract have compared."""
    entered: dict[str, str] = {}
    compared: dict[str, str] = {}

    def note_environment(*arguments: Any) -> dict[str, str]:
        environment = describe_environment(*arguments)
        entered.update(environment)
        return environment

    def open_noted(run: RunParams, tasks: int, folders: Sequence[Path], describe: Describe) -> Any:
        compared.update(pickle.loads(pickle.dumps(describe))())
        return open_executor(run, tasks, folders, describe)

    monkeypatch.setattr(cache_key, "describe_environment", note_environment)
    for name in MODALITIES:
        hash_check(name, check_block(read_params(ROOT / "params.yaml"), "clean", CleanParams))
    assert entered.items() <= describe_checks().items()
    assert {"Python", "Unicode tables", "processor type", "vector instructions", "soundfile", "numpy"} <= entered.keys()
    entered.clear()
    monkeypatch.setattr(extract_step, "open_executor", open_noted)
    write_corpus(tmp_path / "data", [Thing("one", modalities=tuple(MODALITIES))])
    run_extract(tmp_path, make_params())
    assert entered.items() <= compared.items()
    assert {"spacy", "soxr", "av", "tokenizers"} <= entered.keys()


def test_the_versions_of_models_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(MODALITIES["text"], describe=lambda params: {"en_model": "3.8.0", "./folder": "0" * 64})
    monkeypatch.setattr(provenance, "MODALITIES", {"text": text})
    found = provenance.describe_features(make_params(), ["text"])
    assert found.items() >= {"en_model": "3.8.0", "./folder": "0" * 64}.items()


CALL = """
import pickle, sys
from pathlib import Path
function, arguments = pickle.loads(Path(sys.argv[1]).read_bytes())
function(*arguments)
print(*sys.modules, sep="\\n")
"""


@pytest.mark.parametrize("kind", ["check", "features"])
@pytest.mark.parametrize("name", MODALITIES)
def test_only_source_that_is_in_the_key_is_loaded(name: str, kind: str, tmp_path: Path) -> None:
    """Compute from one item in a new process that imports nothing else."""
    modality, data, media_type = MODALITIES[name], draw_item("one", name), MEDIA_TYPES[name]
    clean = check_block(read_params(ROOT / "params.yaml"), "clean", CleanParams)
    params = getattr(make_params(**EVERYTHING), name)
    item = MediaItem(data, media_type)
    calls: dict[str, tuple[Any, ...]] = {
        "check": (modality.check, (data, media_type, clean.checks[name])),
        "features": (modality.learning.parse, (item, params))
        if modality.learning
        else (modality.extract, (item, params, None)),
    }
    function, arguments = calls[kind]
    (tmp_path / "call").write_bytes(pickle.dumps((function, arguments)))
    command = [sys.executable, "-c", CALL, str(tmp_path / "call")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {str(path) for module in done.stdout.split() if (path := find_path(module))}
    assert loaded <= set(find_source_files(function.__module__))
    libraries = {module.partition(".")[0] for module in done.stdout.split()} & {
        "av",
        "cv2",
        "soundfile",
        "soxr",
        "spacy",
    }
    assert libraries <= set(find_libraries(function.__module__))
