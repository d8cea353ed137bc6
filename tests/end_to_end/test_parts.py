"""Samples of named parts go from files to a report: two images, five captions, a question and an answer."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.lineage.diff.differences import DatasetDiffer
from pipeline.lineage.diff.open_dataset import open_dataset
from pipeline.lineage.why.command import run as run_why
from pipeline.models.record import read_record
from shardwright import ShardDataset, read_manifest
from tests.support import factory_media
from tests.support.running import edit_params, hash_files, run_stages

pytestmark = pytest.mark.slow

THINGS = 30
MOST = 5
WORDS = [["low", "dark", "red"], ["high", "bright", "green"]]
LABELS = ("low", "high")


def name_thing(number: int) -> str:
    return f"{LABELS[number % 2]}/{number:02d}"


def count_captions(number: int) -> int:
    return MOST - number % 3 % 2


def has_narration(number: int) -> bool:
    return number % 4 != 1


def draw_image(label: int, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
    pixels[..., label] += 120
    return factory_media.encode_png(pixels)


def write_files(root: Path) -> None:
    """Write files `<label>/<number>.<part>.<ending>`; some things have a caption less, or no narration."""
    for number in range(THINGS):
        label, rng = number % 2, np.random.default_rng(number)
        stem = root / name_thing(number)
        stem.parent.mkdir(parents=True, exist_ok=True)
        for part in ("before", "after"):
            Path(f"{stem}.{part}.png").write_bytes(draw_image(label, rng))
        texts = {
            f"caption{n}": f"number {number} {n} {rng.choice(WORDS[label])}" for n in range(count_captions(number))
        }
        texts |= {"question": f"what is {number}", "answer": f"it is {rng.choice(WORDS[label])} {number}"}
        for part, text in texts.items():
            Path(f"{stem}.{part}.txt").write_text(text)
        if has_narration(number):
            tone = factory_media.make_tone(8000, 0.4, seed=number)
            Path(f"{stem}.wav").write_bytes(factory_media.encode_audio(tone, 8000, "WAV"))


def make_rule(part: str, modality: str, **more: Any) -> dict[str, Any]:
    pattern = rf"(?P<key>(?P<label>[a-z]+)/\d+)\.{part}"
    return {"modality": modality, "pattern": pattern, **more}


PARTS = {
    "question": make_rule(r"question\.txt", "text"),
    "before": make_rule(r"before\.png", "image"),
    "after": make_rule(r"after\.png", "image"),
    "caption": make_rule(r"caption\d\.txt", "text", many="all", most=MOST),
    "answer": make_rule(r"answer\.txt", "text"),
    "narration": make_rule("wav", "audio", required=False),
}


def make_blocks(root: Path, **changes: Any) -> dict[str, Any]:
    return edit_params(
        crawl__start=[], ingest__root=str(root), align__by="pattern", align__label="path", align__modalities={},
        align__parts=PARTS, extract__image__height=16, extract__image__width=16, extract__audio__seconds=0.5,
        extract__text__min_count=1, extract__text__length=6, train__modalities=None, train__epochs=2,
        train__batch_size=8, evaluate__worst=2, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_files(folder / "files")
    outcomes = run_stages(make_blocks(folder / "files"), folder / "run")
    assert outcomes["extract"].kept == THINGS
    return folder / "run/data"


def read_samples(data: Path) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """Return arrays and meta of every sample by the number of its thing."""
    samples = {}
    for split in read_manifest(data / "5_shards").splits:
        with ShardDataset(data / "5_shards", split) as shards:
            for row in range(len(shards)):
                meta = shards.meta(row)
                number = int(meta["items"]["before"]["file"].split("/")[1][:2])
                samples[number] = shards[row], meta
    return samples


def test_every_part_has_its_fields(data: Path) -> None:
    manifest = read_manifest(data / "5_shards")
    shapes = {name: field.shape for name, field in manifest.fields.items()}
    assert list(shapes)[:4] == ["question", "question_length", "before", "after"]
    assert (shapes["caption"], shapes["caption_length"], shapes["caption_count"]) == ((MOST, 6), (MOST,), ())
    assert manifest.fields["caption"].axes == "NT"
    assert {name for name in shapes if name.endswith("_present")} == {"narration_present"}
    assert {"narration_mfcc", "narration_mfcc_length"} <= shapes.keys()
    assert manifest.extract is not None
    assert manifest.extract["parts"] == {part: rule["modality"] for part, rule in PARTS.items()}
    assert {"before", "after", "narration_mfcc"} <= (manifest.statistics or {}).keys()


def test_arrays_are_those_of_the_items(data: Path) -> None:
    words = json.loads((data / "5_shards/vocabulary.json").read_text())["words"]
    root = data.parents[1] / "files"
    samples = read_samples(data)
    assert samples.keys() == set(range(THINGS))
    for number, (sample, meta) in samples.items():
        count = count_captions(number)
        assert sample["caption_count"] == count
        assert [item["file"] for item in meta["items"]["caption"]] == [
            f"{name_thing(number)}.caption{n}.txt" for n in range(count)
        ]
        for n in range(count):
            text = (root / f"{name_thing(number)}.caption{n}.txt").read_text()
            known = [word if word in words else "<unk>" for word in text.split()]
            assert [words[token] for token in sample["caption"][n][: sample["caption_length"][n]]] == known
        assert not sample["caption"][count:].any()
        assert not sample["caption_length"][count:].any()
        assert sample["narration_present"] == has_narration(number)
        assert sample["narration_mfcc"].any() == has_narration(number)
        assert not np.array_equal(sample["before"], sample["after"])
        assert meta["caption"].startswith("what is")


def test_the_model_sees_parts(data: Path) -> None:
    record = read_record(data / "6_model")
    inputs = {source.part: source.modality for source in record.architecture.inputs}
    assert inputs == {part: rule["modality"] for part, rule in PARTS.items()}
    metrics = json.loads((data / "7_report/metrics.json").read_text())
    assert {"before", "caption", "before + after + narration + question + caption + answer"} <= metrics[
        "subsets"
    ].keys()
    assert len(metrics["subsets"]) == 63
    page = (data / "7_report/index.html").read_text()
    assert "before (cnn), after (cnn), narration (cnn), question (gru), caption (gru), answer (gru)" in page


def test_why_names_the_sample_of_any_caption(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(data.parent)
    (key,) = {meta["key"] for _, meta in [read_samples(data)[0]]}
    for n in range(MOST):
        assert run_why(["low/00.caption" + str(n) + ".txt"]) == 0
        assert f"in sample {key}, caption {n + 1} of {MOST}" in " ".join(capsys.readouterr().out.split())


def test_any_number_of_workers_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    run_stages(make_blocks(data.parents[1] / "files", run__workers=2), tmp_path, "extract", since="extract")
    assert hash_files(tmp_path / "data/5_shards") == hash_files(data / "5_shards")


def test_diff_knows_the_modality_of_a_part(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    run_stages(make_blocks(data.parents[1] / "files", extract__audio__hop=128), tmp_path, "extract", since="extract")
    found = DatasetDiffer(open_dataset(data), open_dataset(tmp_path / "data"), None).compare()
    assert {report.text for report in found.changed.samples} == {
        "narration_mfcc",
        "narration_mfcc, narration_mfcc_length",
    }
    assert all("extract.audio.hop: 256 -> 128" in cause.text for cause in found.changed.causes)
