"""What encoders keep beside the contract in `test_models`: graphs, precision, names of weights, and their options."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config.check_params import check_block
from pipeline.errors import InputError, ParamsError
from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import BatchNorm
from pipeline.models.encoders.options import list_sizes
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.model import encode_part
from pipeline.train.params import TrainParams
from tests.support.model_inputs import CHOICES, INPUTS, SMALL, make_batch
from tests.support.running import ROOT

DEEP = ("resnet34", "resnet50", "vgg16")
"""The same code as `resnet18` and `vgg11`, which takes longer to trace."""
RECURRENT = [(modality, name) for modality, name in CHOICES if name in ("gru", "lstm", "crnn")]


pytestmark = pytest.mark.usefixtures("one_thread")


def build(modality: str, name: str, **sizes: Any) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(INPUTS[modality], 8, name, {**SMALL.get(name, {}), **sizes}).eval()


def read_inputs(modality: str, size: int = 4) -> tuple[Tensor, ...]:
    source, batch = INPUTS[modality], make_batch(size)
    return (batch[source.field], batch[source.length]) if source.length else (batch[source.field],)


def embed(encoder: nn.Module, *inputs: Tensor) -> Tensor:
    return EncodedPart.read(encoder(*inputs)).pooled


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_the_tokens_have_the_channels_that_the_encoder_says(modality: str, name: str) -> None:
    encoder = build(modality, name)
    encoded = EncodedPart.read(encoder(*read_inputs(modality)))
    assert encoded.pooled.shape == (4, 8)
    assert encoded.tokens.shape[2] == getattr(encoder, "channels", 8)
    assert encoded.valid.shape == encoded.tokens.shape[:2]


@pytest.mark.parametrize(("modality", "name"), CHOICES)
def test_bfloat16_is_close_to_float32(modality: str, name: str) -> None:
    encoder, inputs = build(modality, name), read_inputs(modality)
    exact = embed(encoder, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = embed(encoder, *inputs)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("modality", "name"),
    [pytest.param(*choice, marks=[pytest.mark.sweep] * (choice[1] in DEEP), id="-".join(choice)) for choice in CHOICES],
)
@pytest.mark.filterwarnings("ignore:The tensor attributes self.*_flat_weights")  # of torch.export, whose graph is right
def test_an_encoder_is_one_graph_to_compile_and_to_export(modality: str, name: str) -> None:
    """Recurrent networks are one graph where PyTorch is told to take them, which by default it leaves to cuDNN."""
    encoder, inputs = build(modality, name), read_inputs(modality)
    exact = embed(encoder, *inputs)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(encoder, backend="eager", fullgraph=True)
        torch.testing.assert_close(EncodedPart.read(compiled(*inputs)).pooled, exact)
    exported = torch.export.export(encoder, inputs).module()
    torch.testing.assert_close(EncodedPart.read(exported(*inputs)).pooled, exact)


@pytest.mark.parametrize(("modality", "name"), RECURRENT)
def test_neither_direction_of_a_recurrent_network_sees_padding(modality: str, name: str) -> None:
    source = INPUTS[modality]
    encoder = build(modality, name, bidirectional=True, layers=2, hidden=6)
    values, length = read_inputs(modality, 6)
    padding = torch.arange(source.shape[0]) >= length[:, None]
    spoiled = values.clone()
    spoiled[padding] = 3
    expected = embed(encoder, values, length)
    assert torch.equal(expected, embed(encoder, spoiled, length))
    torch.testing.assert_close(expected, embed(encoder, torch.cat([values, spoiled], dim=1), length))
    for row in range(6):
        alone = embed(encoder, values[row : row + 1, : length[row]], length[row : row + 1])
        torch.testing.assert_close(alone[0], expected[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_backwards_is_the_sequence_turned_around(name: str) -> None:
    """Against PyTorch's own, packed."""
    torch.manual_seed(0)
    encoder = build("text", name, bidirectional=True, hidden=5, channels=4)
    oracle = {"gru": nn.GRU, "lstm": nn.LSTM}[name](4, 5, batch_first=True, bidirectional=True)
    weights = {f"{key}": value for key, value in encoder.get_submodule(name).state_dict().items()}
    weights |= {f"{key}_reverse": value for key, value in encoder.get_submodule(f"{name}_back").state_dict().items()}
    oracle.load_state_dict(weights)
    tokens, length = read_inputs("text")
    words = encoder.get_submodule("words")(tokens, torch.ones(tokens.shape, dtype=torch.bool))
    packed = nn.utils.rnn.pack_padded_sequence(words, length.long(), batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(oracle(packed)[0], batch_first=True, total_length=tokens.shape[1])
    encoded: EncodedPart = encoder(tokens, length)
    torch.testing.assert_close(encoded.tokens[encoded.valid][:, 4:], states[encoded.valid])


@pytest.mark.parametrize("name", ["cnn", "crnn", "gru", "lstm", "transformer"])
def test_a_clip_less_its_mean_does_not_depend_on_the_level(name: str) -> None:
    frames, length = read_inputs("audio")
    louder = frames + 3
    plain, subtracting = (build("audio", name, subtract_mean=which) for which in (False, True))
    assert not torch.allclose(embed(plain, frames, length), embed(plain, louder, length), atol=1e-3)
    expected = embed(subtracting, frames, length)
    torch.testing.assert_close(expected, embed(subtracting, louder, length), rtol=1e-3, atol=1e-4)
    frames[torch.arange(20) >= length[:, None]] = float("nan")
    assert torch.equal(expected, embed(subtracting, frames, length))


@pytest.mark.parametrize("name", ["mean", "cnn", "gru", "lstm", "transformer"])
def test_embeddings_of_tokens_start_in_the_range_that_is_set(name: str) -> None:
    words = build("text", name, embedding_range=0.25).get_parameter("words.weight")
    assert 0.2 < words.abs().max() <= 0.25
    assert build("text", name).get_parameter("words.weight").abs().max() > 1


@pytest.mark.parametrize("pooling", ["mean", "gru", "attention"])
@pytest.mark.parametrize("frames", [{"name": "cnn", "channels": [8, 8]}, {"name": "vit", "layers": 1}])
def test_a_video_is_any_images_and_a_pooling(pooling: str, frames: dict[str, Any]) -> None:
    encoder = build("video", "cnn", frames=frames, pooling=pooling)
    (pixels,) = read_inputs("video")
    embedding = embed(encoder, pixels)
    torch.autograd.backward(embedding.square().sum())
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
    turned = embed(encoder, pixels.flip(1))
    assert torch.allclose(embedding, turned, atol=1e-5) == (pooling != "gru")
    torch.testing.assert_close(
        embed(encoder, pixels[:, :1])[0], embed(encoder, pixels[:, :1].repeat(4, 1, 1, 1, 1)[:4])[0]
    )


def test_a_vision_transformer_wants_whole_squares() -> None:
    with pytest.raises(InputError, match=r"patch is 5; it must divide the images' 16 × 16 pixels"):
        build("image", "vit", patch=5)


SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "bn1.num_batches_tracked": (),
        "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer1.1.bn2.bias": (64,),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer2.0.downsample.1.running_mean": (128,),
        "layer4.1.conv2.weight": (512, 512, 3, 3),
        "layer4.1.bn2.running_mean": (512,),
    },
    "resnet34": {
        "layer1.2.conv2.weight": (64, 64, 3, 3),
        "layer2.3.bn1.weight": (128,),
        "layer3.5.conv1.weight": (256, 256, 3, 3),
        "layer4.2.bn2.running_mean": (512,),
    },
    "resnet50": {
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.2.bn3.running_var": (256,),
        "layer3.0.conv2.weight": (256, 256, 3, 3),
        "layer3.5.conv1.weight": (256, 1024, 1, 1),
        "layer4.2.bn3.running_mean": (2048,),
    },
    "vgg11": {
        "features.0.weight": (64, 3, 3, 3),
        "features.3.weight": (128, 64, 3, 3),
        "features.6.bias": (256,),
        "features.8.weight": (256, 256, 3, 3),
        "features.18.weight": (512, 512, 3, 3),
    },
    "vgg16": {
        "features.2.weight": (64, 64, 3, 3),
        "features.10.weight": (256, 128, 3, 3),
        "features.28.bias": (512,),
    },
}
"""Names and shapes of torchvision's weights, a choice."""

COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "vgg11": 132_863_336,
    "vgg16": 138_357_544,
}
"""Parameters of torchvision's networks with their last layers for 1,000 classes."""

LAST_LAYERS = {
    "resnet18": [(512, 1000)],
    "resnet34": [(512, 1000)],
    "resnet50": [(2048, 1000)],
    **dict.fromkeys(("vgg11", "vgg16"), ((7 * 7 * 512, 4096), (4096, 4096), (4096, 1000))),
}
"""Inputs and outputs of the linear layers that torchvision's networks have and encoders have not."""


@pytest.mark.parametrize("name", SHAPES)
def test_weights_have_the_names_and_shapes_of_torchvision(name: str) -> None:
    with torch.device("meta"):
        encoder = build_encoder(INPUTS["image"], 8, name, {})
    own = ("scale.", "outlet.")
    shapes = {key: tuple(value.shape) for key, value in encoder.state_dict().items() if not key.startswith(own)}
    assert {key: shapes.get(key) for key in SHAPES[name]} == SHAPES[name]
    last = sum(inputs * outputs + outputs for inputs, outputs in LAST_LAYERS[name])
    count = sum(value.numel() for key, value in encoder.named_parameters() if not key.startswith(own))
    assert count + last == COUNTS[name]


def test_gray_images_are_given_to_weights_of_imagenet_as_three_colours() -> None:
    gray = replace(INPUTS["image"], shape=(16, 16, 1), mean=(60.0,), std=(30.0,))
    encoder = build_encoder(gray, 8, "resnet18", {**SMALL["resnet18"], "scale": "imagenet"}).eval()
    assert encoder.get_parameter("conv1.weight").shape[1] == 3
    assert embed(encoder, torch.zeros(2, 16, 16, 1, dtype=torch.uint8)).shape == (2, 8)


@pytest.mark.parametrize("there", [(1, 0, 1, 1), (0, 0, 0, 0), (0, 1, 0, 0)])
def test_samples_that_lack_the_part_change_no_statistics(there: tuple[int, ...]) -> None:
    """In training, what stands in place of missing images reaches neither other samples nor the running statistics."""
    results = []
    for blank in (0, 255):
        encoder = build("image", "resnet18").train()
        batch = make_batch(4) | {"image_present": torch.tensor(there, dtype=torch.uint8)}
        batch["image"][batch["image_present"] == 0] = blank
        encoded = encode_part(encoder, INPUTS["image"], batch)
        results.append({**encoder.state_dict(), "pooled": encoded.pooled})
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])
    assert encoder.training
    assert results[0]["bn1.num_batches_tracked"] == (any(there))


def test_a_single_value_is_normalized_by_the_running_statistics() -> None:
    norm, values = BatchNorm(3).train(), torch.randn(1, 3, 1, 1)
    assert torch.equal(norm(values), norm.eval()(values))
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ({"image": {"name": "resnet"}}, "train.encoders.image.name is .resnet.; it must be cnn, flat, resnet18"),
        ({"text": {"hiden": 3}}, "train.encoders.text.hiden is not a known key; did you mean hidden?"),
        ({"text": {"name": "transformer", "heads": 5}}, r"text.heads is 5; it must divide channels \(64\)"),
        ({"image": {"channels": [12]}}, "train.encoders.image.channels.0 is 12; it must be a multiple of 8"),
        ({"audio": {"lr_mult": 0}}, "train.encoders.audio.lr_mult is 0; it must be more than 0"),
    ],
)
def test_wrong_options_are_named(encoders: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        check_block({"train": {"encoders": encoders}}, "train", TrainParams)


def test_a_name_alone_and_a_mapping_mean_the_same() -> None:
    one, other = (TrainParams.model_validate({"encoders": {"text": text}}) for text in ("cnn", {"name": "cnn"}))
    assert one == other == TrainParams.model_validate(one.model_dump(mode="json"))
    sizes = list_sizes(dict(one.encoders)["text"])
    assert sizes == {"channels": 64, "embedding_range": None, "kernels": [3, 4, 5], "filters": 64, "dropout": 0.5}


def test_a_plugin_gets_its_options_as_keyword_arguments() -> None:
    name = "plugins/examples/encoder.py:Colours"
    params = TrainParams.model_validate({"encoders": {"image": {"name": name, "grid": 2, "freeze": True}}})
    sizes = list_sizes(dict(params.encoders)["image"])
    assert sizes == {"grid": 2}
    assert build_encoder(INPUTS["image"], 8, name, sizes).get_parameter("outlet.weight").shape == (8, 2 * 2 * 3)


def test_the_documentation_lists_every_encoder_and_fusion() -> None:
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    fusions = {name for row in rows for name in FUSIONS if row.startswith(f"| `{name}` |")}
    assert fusions == set(FUSIONS)
    for modality, table in ENCODERS.items():
        listed = " ".join(row for row in rows if row.startswith((f"| {modality} |", "| all |")))
        assert [name for name in table if f"`{name}`" not in listed] == []
