"""Every encoder, fusion and reader of the tables keeps its contract; checkpoints are what was saved or are refused."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.batches import ReadOrder, open_split, read_batches
from pipeline.models.checkpoint import BEST, load_model, write_weights
from pipeline.models.determinism import deterministic_mode
from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.inputs import PartInput, read_inputs
from pipeline.models.model import Model, encode_part
from pipeline.models.readers import READERS
from pipeline.models.record import RECORD_NAME, Architecture, ModelRecord, write_record
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan
from shardwright import ShardDataset, read_manifest
from shardwright.format.canonical_json import encode_canonical, hash_canonical
from tests.support.factory_shards import WORDS, Toy, make_shards
from tests.support.model_inputs import CHOICES, FIRST, INPUTS, MODALITIES, SMALL, make_batch

pytestmark = pytest.mark.usefixtures("one_thread")


PLAN = ClassPlan(MODALITIES, ("a", "b", "c", "d", "e"), (1, 1, 1, 1, 1))


def make_architecture(fusion: str = "concat", encoders: dict[str, str] | None = None) -> Architecture:
    inputs = tuple(INPUTS[modality] for modality in MODALITIES)
    names = {**FIRST, **(encoders or {})}
    sizes = {modality: SMALL.get(name, {}) for modality, name in names.items()}
    return Architecture(inputs, names, 12, fusion, 0.0, sizes)


def make_model(fusion: str = "concat", encoders: dict[str, str] | None = None, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(make_architecture(fusion, encoders), CLASSIFICATION, PLAN).eval()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_of_a_fusion_gets_a_gradient(fusion: str) -> None:
    check_gradients(make_model(fusion))


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_every_parameter_of_an_encoder_gets_a_gradient(modality: str, name: str) -> None:
    check_gradients(make_model(encoders={modality: name}))


def check_gradients(model: Model) -> None:
    batch = make_batch(64)
    torch.nn.functional.cross_entropy(model(batch), torch.arange(64) % 5).backward()  # type: ignore[no-untyped-call]
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("hidden", MODALITIES)
def test_a_modality_that_is_not_present_changes_no_bit(fusion: str, hidden: str) -> None:
    model = make_model(fusion)
    batch = make_batch(8)
    batch[f"{hidden}_present"] = torch.zeros(8, dtype=torch.uint8)
    other = batch | {INPUTS[hidden].field: make_batch(8, seed=1)[INPUTS[hidden].field]}
    if hidden == "audio":
        other["mfcc"] = other["mfcc"] * float("nan")
    assert torch.equal(model(batch), model(other))
    encoded = model.encode(batch)
    spoiled = [
        EncodedPart(torch.full_like(each.pooled, float("nan")), each.tokens, each.valid) if name == hidden else each
        for name, each in zip(MODALITIES, encoded, strict=True)
    ]
    present = model.find_present(batch)
    assert torch.equal(model.predict(encoded, present, batch), model.predict(spoiled, present, batch))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_hiding_modalities_is_the_same_as_lacking_them(fusion: str) -> None:
    model, batch = make_model(fusion), make_batch(8)
    only_image = torch.tensor([name == "image" for name in MODALITIES])
    narrowed = model(batch, model.find_present(batch) & only_image)
    lacking = batch | {f"{name}_present": torch.zeros(8, dtype=torch.uint8) for name in MODALITIES[1:]}
    assert torch.equal(narrowed, model(lacking))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_sample_without_any_modality_has_finite_outputs(fusion: str) -> None:
    model, batch = make_model(fusion), make_batch(4)
    outputs = model(batch, torch.zeros(4, len(MODALITIES), dtype=torch.bool))
    assert outputs.isfinite().all()
    assert torch.equal(outputs, outputs[:1].expand(4, 5))


def test_the_mean_does_not_depend_on_the_order_of_modalities() -> None:
    fusion, values = FUSIONS["mean"](3, 12), torch.randn(4, 3, 12)
    present = torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(fusion(values, present), fusion(values.flip(1), present))


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_several_items_are_encoded_to_their_mean(modality: str, name: str) -> None:
    source, counts = INPUTS[modality], torch.tensor([0, 1, 3, 2], dtype=torch.int32)
    torch.manual_seed(0)
    encoder = build_encoder(source, 12, name, SMALL.get(name, {})).eval()
    items = {key: values.reshape(4, 3, *values.shape[1:]) for key, values in make_batch(12).items()}
    several = replace(source, part="view", count="view_count")
    embeddings, tokens, valid = encode_part(encoder, several, {**items, "view_count": counts})
    assert not embeddings[0].any()
    for row, count in enumerate(counts.tolist()):
        if count:
            own = {key: values[row, :count] for key, values in items.items()}
            alone = encode_part(encoder, source, own)
            torch.testing.assert_close(embeddings[row], alone.pooled.mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(tokens[row][valid[row]], alone.tokens[alone.valid], rtol=1e-4, atol=1e-5)
        assert valid[row].any() == (count > 0)


@pytest.mark.parametrize("counts", [[0, 1, 3, 2], [0, 0, 0, 0]], ids=["some", "none"])
@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_entries_after_the_last_item_change_no_bit(modality: str, name: str, counts: list[int]) -> None:
    """Neither of the embeddings nor of the gradients, in training, and also where they are NaN."""
    source = replace(INPUTS[modality], part="view", count="view_count")
    batch = {key: values.reshape(4, 3, *values.shape[1:]) for key, values in make_batch(12).items()}
    batch["view_count"] = torch.tensor(counts, dtype=torch.int32)
    absent = torch.arange(3) >= batch["view_count"][:, None]
    spoiled = {key: values.clone() for key, values in batch.items()}
    spoiled[source.field][absent] = 1 if spoiled[source.field].dtype != torch.float32 else float("nan")
    if source.length:
        spoiled[source.length][absent] = 5
    (embeddings, gradients), (others, other_gradients) = (
        train_step(modality, name, source, each) for each in (batch, spoiled)
    )
    assert torch.equal(embeddings, others)
    assert embeddings.any(1).tolist() == [count > 0 for count in counts]
    for one, other in zip(gradients, other_gradients, strict=True):
        assert one.isfinite().all()
        assert torch.equal(one, other)


def train_step(modality: str, name: str, source: PartInput, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the embeddings of a part, and the gradient of each parameter of its encoder."""
    torch.manual_seed(0)
    encoder = build_encoder(source, 12, name, SMALL.get(name, {})).train()
    embeddings = encode_part(encoder, source, batch).pooled
    (embeddings * torch.arange(12)).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in encoder.parameters()]
    return embeddings.detach(), [gradient for gradient in gradients if gradient is not None]


def test_parts_may_be_called_as_they_like() -> None:
    names = ("items", "values", "train")  # methods of a dict of modules
    inputs = tuple(replace(INPUTS["text"], part=name) for name in names)
    model = Model(Architecture(inputs, FIRST, 12, "mean", 0.0), CLASSIFICATION, PLAN)
    assert list(model.embed(make_batch(4))) == list(names)


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_samples_of_a_batch_do_not_influence_each_other(modality: str, name: str) -> None:
    model, batch = make_model(encoders={modality: name}), make_batch(6)
    together = model.embed(batch)[modality]
    alone = [model.embed({field: values[row : row + 1] for field, values in batch.items()}) for row in range(6)]
    torch.testing.assert_close(together, torch.cat([one[modality] for one in alone]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("modality", "name"), [choice for choice in CHOICES if INPUTS[choice[0]].length])
def test_padding_does_not_influence_the_embedding(modality: str, name: str) -> None:
    source = INPUTS[modality]
    model, batch = make_model(encoders={modality: name}), make_batch(6)
    lengths = batch[source.length or ""]
    padding = torch.arange(source.shape[0]) >= lengths[:, None]
    spoiled = batch[source.field].clone()
    spoiled[padding] = torch.tensor(7, dtype=spoiled.dtype)
    expected = model.embed(batch)[modality]
    assert torch.equal(expected, model.embed(batch | {source.field: spoiled})[modality])
    if name not in ("transformer", "flat"):  # which have weights for each step of the field and no more
        longer = torch.cat([batch[source.field], spoiled], dim=1)
        torch.testing.assert_close(expected, model.embed(batch | {source.field: longer})[modality])


@pytest.mark.parametrize(("modality", "name"), [choice for choice in CHOICES if INPUTS[choice[0]].length])
def test_length_zero_is_finite_and_so_are_its_gradients(modality: str, name: str) -> None:
    model, batch = make_model(encoders={modality: name}), make_batch(4)
    batch[INPUTS[modality].length or ""] = torch.zeros(4, dtype=torch.int32)
    embedding = model.embed(batch)[modality]
    assert embedding.isfinite().all()
    embedding.square().sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("fusion", "modality", "name"),
    [*((fusion, *CHOICES[0]) for fusion in FUSIONS), *(("concat", *choice) for choice in CHOICES[1:])],
)
def test_a_saved_model_is_the_same_model(fusion: str, modality: str, name: str, tmp_path: Path) -> None:
    model, batch = make_model(fusion, {modality: name}), make_batch(4)
    architecture = make_architecture(fusion, {modality: name})
    record = make_record(architecture, {BEST: write_weights(tmp_path / BEST, model.state_dict())})
    write_record(tmp_path, record)
    loaded, read = load_model(tmp_path)
    assert read == record
    assert torch.equal(loaded(batch), model(batch))


def make_record(architecture: Architecture, weights: dict[str, str]) -> ModelRecord:
    return ModelRecord(
        task="classification",
        plan=json.loads(json.dumps(asdict(PLAN))),
        architecture=architecture,
        classes=("a", "b"),
        dataset="0" * 64,
        fields={},
        extract={},
        vocabulary=tuple(WORDS),
        params={},
        best={"epoch": 1},
        made_with={},
        weights=weights,
        initial_weights={},
    )


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = make_model()
    write_record(tmp_path, make_record(make_architecture(), {BEST: write_weights(tmp_path / BEST, model.state_dict())}))
    content = bytearray((tmp_path / BEST).read_bytes())
    content[-1] ^= 1
    (tmp_path / BEST).write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"best\.safetensors is damaged"):
        load_model(tmp_path)


def edit_record(folder: Path, **changes: Any) -> None:
    """Change `model.json`, and its hash accordingly."""
    document = json.loads((folder / RECORD_NAME).read_bytes()) | changes
    document.pop("hash")
    (folder / RECORD_NAME).write_bytes(encode_canonical(document | {"hash": hash_canonical(document)}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, for reading only."""
    folder, model = tmp_path_factory.mktemp("saved"), make_model()
    write_record(folder, make_record(make_architecture(), {BEST: write_weights(folder / BEST, model.state_dict())}))
    return folder


@given(st.data())
@settings(max_examples=60)
def test_one_flipped_bit_in_a_model_is_found(saved: Path, data: st.DataObject) -> None:
    path = saved / data.draw(st.sampled_from((RECORD_NAME, BEST)))
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[data.draw(st.integers(0, len(content) - 2))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        path.write_bytes(flipped)
        with pytest.raises(InputError):
            load_model(saved)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, "not a model of version 3"),
        ({"extra": 1}, "unknown keys"),
        ({"classes": "ab"}, "the model.classes is 'ab'"),
        ({"architecture": {"inputs": []}}, "the model.architecture: missing keys"),
        ({"weights": {}}, "is damaged"),
    ],
)
def test_an_invalid_record_is_refused(saved: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edit_record(folder, **changes)
    with pytest.raises(InputError, match=message):
        load_model(folder)


@pytest.mark.parametrize("change", [{"width": 16}, {"fusion": "nothing"}, {"encoders": {}}, {"fusion": None}])
def test_weights_of_another_model_are_refused(saved: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    edit_record(folder, architecture=json.loads((folder / RECORD_NAME).read_bytes())["architecture"] | change)
    with pytest.raises(InputError, match="do not fit"):
        load_model(folder)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), Toy(train=23, missing=("audio",)))


@pytest.fixture
def data(shards: Path) -> ShardDataset:
    return ShardDataset(shards, "train")


def assert_same_batches(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        assert one["key"] == other["key"]
        for name in one.keys() - {"key"}:
            assert one[name].dtype == other[name].dtype, name
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("batch_size", [1, 7, 8, 100])
def test_readers_give_the_same_batches_in_stored_order(data: ShardDataset, batch_size: int) -> None:
    ours, theirs = (list(read_batches(name, data, ReadOrder(batch_size))) for name in ("shardwright", "webdataset"))
    assert_same_batches(ours, theirs)
    assert [key for batch in ours for key in batch["key"]] == [data[row]["key"] for row in range(len(data))]
    assert list(ours[0]) == ["key", *data.fields, "valid"]


@pytest.mark.parametrize("reader", READERS)
def test_the_shuffled_order_is_a_function_of_seed_and_epoch(data: ShardDataset, reader: str) -> None:
    def read(seed: int, epoch: int) -> list[dict[str, Any]]:
        return list(read_batches(reader, data, ReadOrder(4, shuffle=True, seed=seed, epoch=epoch)))

    first = read(0, 0)
    assert_same_batches(first, read(0, 0))
    orders = [[key for batch in read(*at) for key in batch["key"]] for at in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(orders[0]) and len(set(order)) == len(data) for order in orders)


def test_a_shard_that_was_cut_is_an_error_not_a_shorter_epoch(tmp_path: Path) -> None:
    root = make_shards(tmp_path, Toy(train=14))
    data = ShardDataset(root, "train")
    shard = data.manifest.splits["train"].shards[1]
    path = root / "train" / shard.name
    path.rename(tmp_path / "whole.tar")
    path.write_bytes((tmp_path / "whole.tar").read_bytes()[: -(shard.bytes // shard.samples) - 1024] + bytes(1024))
    with pytest.raises(
        InputError, match=rf"{shard.name} is damaged, its sha256 is not the one in the manifest: remove it"
    ):
        list(read_batches("webdataset", data, ReadOrder(4)))


def test_a_split_without_samples_is_none(shards: Path, tmp_path: Path) -> None:
    assert open_split(shards, "no_such_split") is None
    with pytest.raises(InputError, match="has no dataset"):
        open_split(tmp_path, "train")


def test_inputs_are_read_from_the_manifest(shards: Path) -> None:
    image, audio, text = read_inputs(shards, read_manifest(shards), ("image", "audio", "text"))
    assert (image.shape, image.mean, image.present) == ((16, 16, 3), (60.0,) * 3, None)
    assert (audio.field, audio.length, audio.present) == ("mfcc", "mfcc_length", "audio_present")
    assert (text.words, text.mean) == (len(WORDS), ())
    bare = replace(read_manifest(shards), vocabulary=None)
    with pytest.raises(InputError, match="no vocabulary"):
        read_inputs(shards, bare, ("text",))


def test_inputs_of_named_parts_know_their_modality(shards: Path) -> None:
    manifest = read_manifest(shards)
    tokens, length = manifest.fields["tokens"], manifest.fields["tokens_length"]
    several = {
        "caption": replace(tokens, shape=(3, *tokens.shape), axes="NT"), "caption_length": replace(length, shape=(3,)),
        "caption_count": length, "answer": tokens, "answer_length": length, "answer_present": length,
    }  # fmt: skip
    modalities = {"caption": ["caption", "caption_length", "caption_count"], "answer": ["answer", "answer_length"]}
    extract = {"modalities": {"image": ["image"], **modalities}, "parts": {"caption": "text", "answer": "text"}}
    named = replace(manifest, fields={**manifest.fields, **several}, extract=extract, splits={})
    caption, answer, image = read_inputs(shards, named, ("text", "image"))
    assert (caption.part, caption.modality, caption.shape, caption.count) == ("caption", "text", (6,), "caption_count")
    assert (caption.length, caption.words) == ("caption_length", len(WORDS))
    assert (answer.part, answer.present, answer.count, image.part) == ("answer", "answer_present", None, "image")


def test_an_edited_vocabulary_is_refused(shards: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(shards, tmp_path / "shards"))
    path = root / "vocabulary.json"
    path.write_bytes(path.read_bytes().replace(b"word3", b"word2"))
    with pytest.raises(InputError, match=r"vocabulary\.json is damaged"):
        read_inputs(root, read_manifest(root), ["text"])
    path.unlink()
    with pytest.raises(InputError, match=r"vocabulary\.json is missing"):
        read_inputs(root, read_manifest(root), ["text"])


def test_deterministic_mode_restores_the_process() -> None:
    before = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(), torch.random.get_rng_state())
    numbers = []
    for _ in range(2):
        with deterministic_mode(seed=3, threads=1):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.get_num_threads() == 1
            numbers.append(torch.rand(4))
    assert torch.equal(*numbers)
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before[:2]
    assert torch.equal(torch.random.get_rng_state(), before[2])
