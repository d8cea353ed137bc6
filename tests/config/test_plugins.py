"""Names in `plugins/` stand where rows of tables stand: one worked example of each kind, from params to the result."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.codegen.dvc_yaml import build_stages
from pipeline.config import plugins
from pipeline.config.check_params import check_all_blocks, check_block
from pipeline.config.plugins import find_plugins, is_plugin, load_plugin, shorten_name
from pipeline.errors import ParamsError
from pipeline.incremental import module_sources
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.library_versions import forget_versions
from pipeline.modalities.audio.feature_table import AUDIO_FEATURES
from pipeline.modalities.image.check import check_image
from pipeline.modalities.image.rules import ImageCheck
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.modalities.text.decode import decode_tokens
from pipeline.modalities.text.modality import extract_text, read_frozen
from pipeline.modalities.text.params import FrozenVocabulary
from pipeline.models.fusions.table import FUSIONS
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Reason, Rejection
from pipeline.tasks.table import TASKS
from shardwright import ShardDataset
from tests.evaluate.test_evaluate import run_evaluate
from tests.support.factory_extract import draw_item, extract_things, make_params, make_things, read_all
from tests.support.factory_shards import Toy, make_shards
from tests.support.ingesting import make_image, run_ingest, write_files
from tests.support.ingesting import make_params as make_ingest_params
from tests.support.running import edit_params, hash_files, run_stages
from tests.support.stage_folders import read_drops
from tests.train.test_train import run_train

pytestmark = pytest.mark.slow

EXAMPLES = "plugins/examples"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder `plugins` of another checkout."""
    for module in (plugins, module_sources):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    folder = tmp_path / "plugins"
    folder.mkdir()
    forget_versions()
    yield folder
    forget_versions()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("plugins/pitch.py:Pitch", True),
        ("plugins/voice/pitch.py:PITCH", True),
        ("plugins/../pitch.py:Pitch", False),
        ("plugins/pitch.py", False),
        ("plugins.pitch:Pitch", False),
        ("plugins/pitch.py:Pitch\n", False),
        ("plugins/pïtch.py:Pitch", False),
        (3, False),
    ],
)
def test_names_of_plugins(name: object, known: bool) -> None:
    assert is_plugin(name) is known


def test_plugins_are_found_among_keys_and_values() -> None:
    params = {"rules": {"plugins/a.py:A": 1.0}, "features": ["mfcc", "plugins/b.py:B"], "fusion": "plugins/c.py:C"}
    assert list(find_plugins(params)) == ["plugins/a.py:A", "plugins/b.py:B", "plugins/c.py:C"]
    assert shorten_name("plugins/b.py:Pitch") == "pitch"
    assert shorten_name("mfcc") == "mfcc"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "there is no file plugins/own.py in the folder of params.yaml"),
        ("class Wide: pass\ndef Tall(): pass\n", "plugins/own.py defines no Own; it defines Wide, Tall"),
        ("", "plugins/own.py defines no Own; it defines nothing"),
        ("class Own(:\n", "plugins/own.py is not valid Python: line 1: invalid syntax"),
        ("\0", "plugins/own.py"),
        ("from torch.nn import Linear as Own\n", None),
        ("Own: int = 3\n", None),
    ],
)
def test_a_wrong_name_stops_before_any_work(own: Path, text: str | None, fault: str | None) -> None:
    if text is not None:
        (own / "own.py").write_text(text)
    block = {"train": {"fusion": "plugins/own.py:Own"}}
    if fault is None:
        check_all_blocks(block)
        return
    with pytest.raises(ParamsError, match=r"train\.fusion is ") as caught:
        check_all_blocks(block)
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_imported_names_the_file() -> None:
    with pytest.raises(ParamsError, match=r"params.yaml names plugins/none.py:N, but there is no file plugins/none.py"):
        load_plugin("plugins/none.py:N")
    with pytest.raises(ParamsError, match=r"which is a type; it must be a Task"):
        TASKS[f"{EXAMPLES}/fusion.py:Largest"]
    with pytest.raises(ParamsError, match=r"which is a AudioFeature; it must be a class or a function"):
        FUSIONS[f"{EXAMPLES}/audio_feature.py:CREST"]


def test_tables_list_their_own_rows_alone() -> None:
    name = f"{EXAMPLES}/audio_feature.py:CREST"
    assert AUDIO_FEATURES[name].count_values is not None
    assert name not in AUDIO_FEATURES
    assert name not in list(AUDIO_FEATURES)


def test_cache_keys_hold_the_source_of_plugins_and_of_what_they_import(own: Path) -> None:
    (own / "own.py").write_text("from plugins.helper import HALF\nOwn = HALF\n")
    (own / "helper.py").write_text("HALF = 0.5\n")

    def make_key(name: str) -> bytes:
        forget_versions()
        return hash_method("features of audio", [], {"features": ["mfcc", name]})

    before = make_key("plugins/own.py:Own")
    assert make_key("plugins/own.py:Own") == before
    (own / "other.py").write_text("Other = 1\n")
    assert make_key("plugins/own.py:Own") == before
    assert make_key("plugins/own.py:Other") != before
    (own / "helper.py").write_text("HALF = 0.25\n")
    assert make_key("plugins/own.py:Own") != before


def test_workers_of_a_cluster_compare_all_plugins(own: Path) -> None:
    before = module_sources.hash_plugins()
    (own / "own.py").write_text("Own = 1\n")
    assert module_sources.hash_plugins() != before


def test_dvc_watches_plugins() -> None:
    stages = build_stages()["stages"]
    assert [name for name, stage in stages.items() if "plugins" in stage["deps"]] == [
        name for name in stages if name not in ("list", "crawl", "align")
    ]


def test_a_source(tmp_path: Path) -> None:
    """Rows of a database give the shards of the same files in a folder with a table of their captions."""
    rows = [(f"{number}.png", make_image(number), f"words of {number}", "ab"[number % 2]) for number in range(12)]
    odd = [("odd", None, None, None), ("../up", b"", "", "")]
    database = sqlite3.connect(tmp_path / "things.sqlite")
    database.execute("CREATE TABLE files (name TEXT, content BLOB, words TEXT, label TEXT)")
    database.executemany("INSERT INTO files VALUES (?, ?, ?, ?)", [*rows, *odd])
    database.commit()
    database.close()
    write_files(tmp_path / "inbox", {name: content for name, content, *_ in rows})
    lines = [json.dumps({"file": name, "caption": words, "label": label}) for name, _, words, label in rows]
    write_files(tmp_path / "inbox", {"said.jsonl": "\n".join(lines)})

    def build(name: str, **ingest: Any) -> Path:
        blocks = edit_params(
            crawl__start=[],
            align={"by": "file", "label": "column", "modalities": {"image": {}, "text": {}}},
            extract__image__height=16,
            extract__image__width=16,
            extract__text__min_known=0.0,
            clean__image__min_side=1,
            ingest__page_text=None,
            **ingest,
        )
        run_stages(blocks, tmp_path / name, until="extract")
        return tmp_path / name / "data"

    def hash_shards(data: Path) -> dict[str, str]:
        return {name: sha256 for name, sha256 in hash_files(data / SHARDS_FOLDER).items() if name.endswith(".tar")}

    kind = f"{EXAMPLES}/source.py:SQLITE"
    source = {"kind": kind, "path": str(tmp_path / "*.sqlite"), "columns": {"caption": "words"}}
    local = build("folder", ingest__root=str(tmp_path / "inbox"), ingest__table="said.jsonl")
    found = build("database", ingest__sources=[source])
    assert hash_shards(found) == hash_shards(local)
    assert {drop.key: str(drop.reason) for drop in read_drops(found / "2_ingested")} == {
        "folder:odd": "empty",
        "folder:things.sqlite!../up#13": "not_a_file",
    }


def test_a_file_that_a_source_cannot_read_is_dropped(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.sqlite": b"no database"})
    source = {"kind": f"{EXAMPLES}/source.py:SQLITE", "path": str(tmp_path / "a.sqlite")}
    assert run_ingest(tmp_path, make_ingest_params(sources=[source])).reasons == {"folder:a.sqlite": "unreadable"}
    with pytest.raises(ParamsError, match=r"fusion.py:Largest, which is a type; it must be a Source"):
        run_ingest(tmp_path, make_ingest_params(sources=[{**source, "kind": f"{EXAMPLES}/fusion.py:Largest"}]))


def test_an_audio_feature(tmp_path: Path) -> None:
    params = make_params(audio__features=["mfcc", f"{EXAMPLES}/audio_feature.py:CREST"])
    sample = ShardDataset(extract_things(tmp_path, make_things(4, modalities=("audio",)), params), "train")[0]
    length = int(sample["crest_length"])
    assert sample["crest"].shape == (*sample["mfcc"].shape[:1], 1)
    assert (sample["crest"][:length] >= 1).all()
    assert not sample["crest"][length:].any()


def test_a_tokenizer(tmp_path: Path) -> None:
    """Its tokens have ids in a vocabulary, which gives the texts back, and ids to texts that are new."""
    name = f"{EXAMPLES}/tokenizer.py:CHARACTERS"
    params = make_params(text__tokenizer=name, text__length=400, text__min_count=1, text__lowercase=False)
    things = make_things(6, modalities=("text",))
    root = extract_things(tmp_path, things, params)
    content = (root / "vocabulary.json").read_bytes()
    learned, texts = json.loads(content), params.features["text"]
    assert {*map(len, learned["words"][2:])} == {1}
    for key, sample in read_all(root).items():
        ids = sample["tokens"][: int(sample["tokens_length"])].tolist()
        assert decode_tokens(ids, texts, learned) == draw_item(key, "text").decode()
    frozen = FrozenVocabulary(path=str(root / "vocabulary.json"), sha256=hashlib.sha256(content).hexdigest())
    again = texts.model_copy(update={"frozen": frozen})
    item = MediaItem(f"new [EMAIL] {learned['words'][2]}\N{SNOWMAN}".encode(), "text/plain")
    fields = extract_text(item, again, read_frozen(again))
    found = decode_tokens(fields["tokens"].tolist(), again, learned)
    assert found.endswith(f" {learned['words'][2]}<unk>")
    assert int(fields["tokens_length"]) == len("new ") + 1 + len(" x\N{SNOWMAN}")
    assert [*find_plugins(params.model_dump(mode="json"))] == [name]


def test_a_tokenizer_that_is_none(tmp_path: Path) -> None:
    wrong = make_params(text__tokenizer=f"{EXAMPLES}/fusion.py:Largest")
    with pytest.raises(ParamsError, match=r"fusion.py:Largest, which is a type; it must be a Tokenizer"):
        extract_things(tmp_path, make_things(2, modalities=("text",)), wrong)
    with pytest.raises(ParamsError, match=r"annotate is .*; it must be empty, as tokenizer is plugins/examples/tok"):
        make_params(text__tokenizer=f"{EXAMPLES}/tokenizer.py:CHARACTERS", text__annotate=["pos"], text__model="m")


def test_a_cleaning_rule() -> None:
    name = f"{EXAMPLES}/cleaning_rule.py:SHARPNESS"
    params = check_block({"image": {"rules": {name: 100.0}}}, "image", ImageCheck)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sharp, blurred = (bytes(cv2.imencode(".png", image)[1]) for image in (noise, cv2.GaussianBlur(noise, (0, 0), 5)))
    assert isinstance(check_image(sharp, "image/png", params), Checked)
    rejection = check_image(blurred, "image/png", params)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.limit, rejection.setting) == (Reason.OWN_RULE, "100", "rules")
    assert isinstance(check_image(blurred, "image/png", ImageCheck()), Checked)


def test_an_encoder_a_fusion_a_task_and_a_metric(tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=16, val=4, test=8))
    names: dict[str, Any] = {
        "encoders": {"image": f"{EXAMPLES}/encoder.py:Colours"},
        "fusion": f"{EXAMPLES}/fusion.py:Largest",
        "task": f"{EXAMPLES}/task.py:FOCAL",
    }
    run_train(tmp_path, "", epochs=1, **names)
    record = json.loads((tmp_path / MODEL_FOLDER / "model.json").read_bytes())
    assert record["architecture"]["encoders"]["image"] == names["encoders"]["image"]
    outcome = run_evaluate(tmp_path, metrics=[f"{EXAMPLES}/metric.py:kappa"])
    metrics = json.loads((tmp_path / REPORT_FOLDER / "metrics.json").read_bytes())
    assert -1 <= metrics["own"]["kappa"] <= metrics["accuracy"]
    assert f"kappa {metrics['own']['kappa']:.3f}" in outcome.notes
