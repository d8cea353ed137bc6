"""Noise is a function of key and part, makes scores worse, and is measured in the same pass."""

from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import torch

from pipeline.errors import ParamsError
from pipeline.evaluate.noise import NoiseMeters, draw_noise
from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.checkpoint import load_model
from pipeline.models.determinism import deterministic_mode
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from shardwright import ShardDataset
from shardwright.format.canonical_json import decode_json
from tests.evaluate.test_evaluate import make_trained, read_files, read_metrics, run_evaluate
from tests.support.factory_shards import Toy

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).parents[2] / "schemas/metrics.schema.json"
LEVELS = {"image": [1.0, 30.0], "audio": [50.0]}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with deterministic_mode(seed=0, threads=1):
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_trained(tmp_path_factory.mktemp("noise"), Toy(train=40, test=20, missing=("audio",)), epochs=6)
    run_evaluate(folder, noise=LEVELS)
    return folder


def test_the_report_has_a_curve_a_part(trained: Path) -> None:
    metrics = read_metrics(trained / REPORT_FOLDER)
    assert {part: list(levels) for part, levels in metrics["noise"].items()} == {
        "image": ["0", "1", "30"], "audio": ["0", "50"]
    }  # fmt: skip
    for levels in metrics["noise"].values():
        assert levels["0"] == {"accuracy": metrics["accuracy"], "macro_f1": pytest.approx(metrics["macro_f1"])}
    assert metrics["noise"]["image"]["30"] != metrics["noise"]["image"]["0"]
    jsonschema.validate(metrics, decode_json(SCHEMA.read_bytes()))
    assert "<h2>Noise</h2>" in (trained / REPORT_FOLDER / "index.html").read_text()


def test_noise_changes_nothing_else_and_not_with_the_batch(trained: Path) -> None:
    first = read_files(trained / REPORT_FOLDER)
    run_evaluate(trained, "other", noise=LEVELS, batch_size=7)
    assert read_metrics(trained / "other" / REPORT_FOLDER)["noise"] == read_metrics(trained / REPORT_FOLDER)["noise"]
    run_evaluate(trained, "plain")
    assert read_files(trained / "plain" / REPORT_FOLDER)["confusion.png"] == first["confusion.png"]
    assert "noise" not in read_metrics(trained / "plain" / REPORT_FOLDER)


def test_noise_is_a_function_of_key_and_part_in_the_unit_of_the_field(trained: Path) -> None:
    model, _ = load_model(trained / MODEL_FOLDER)
    image, audio = model.inputs[0], model.inputs[1]
    values = torch.zeros(2, 16, 16, 3)
    noise = draw_noise(image, ["a", "b"], values)
    torch.testing.assert_close(draw_noise(image, ["b", "a"], values), noise.flip(0), rtol=0, atol=0)
    assert float(noise.std()) == pytest.approx(image.std[0], rel=0.1)
    assert not torch.equal(draw_noise(audio, ["a"], torch.zeros(1, 20, 8)).flatten()[:9], noise[0].flatten()[:9])


def test_a_part_without_numbers_is_refused(trained: Path) -> None:
    model, _ = load_model(trained / MODEL_FOLDER)
    for part in ("text", "smell"):
        with pytest.raises(ParamsError, match=rf"evaluate\.noise has {part}; it must name .*: image, audio"):
            NoiseMeters(model, {part: [1.0]})


def test_it_reads_the_data_once(trained: Path) -> None:
    model, _ = load_model(trained / MODEL_FOLDER)
    batches = iter(list(read_batches("shardwright", ShardDataset(trained / SHARDS_FOLDER, "test"), ReadOrder(8))))
    assert sum(len(batch["key"]) for batch in NoiseMeters(model, {"image": [1.0]}).watch(batches)) == 20
