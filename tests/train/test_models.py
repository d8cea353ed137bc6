"""Every encoder and fusion of the tables keeps its contract in a model."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.inputs import PartInput
from pipeline.models.model import Model, encode_part
from pipeline.models.record import Architecture
from pipeline.tasks.classification import CLASSIFICATION
from tests.support.model_inputs import CHOICES, FIRST, INPUTS, MODALITIES, SMALL, make_batch
from tests.support.small_models import PLAN, make_model

pytestmark = pytest.mark.usefixtures("one_thread")


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
