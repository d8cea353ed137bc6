"""One contract for all fusions: gradients, missing parts, saving, precision, compiling and exporting."""

from collections.abc import Sequence

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.checkpoint import encode_weights
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.fusions.tensor import TensorFusion
from pipeline.models.model import reads_tokens

PARTS, WIDTH, BATCH = 3, 8, 8
CHANNELS, STEPS = (4, 6, 8), (5, 3, 1)

Inputs = tuple[Tensor, ...] | tuple[Tensor, Tensor, list[EncodedPart]]


pytestmark = pytest.mark.usefixtures("one_thread")


def build_fusion(name: str, parts: int = PARTS, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    channels = (CHANNELS[:parts],) if reads_tokens(FUSIONS[name]) else ()
    return FUSIONS[name](parts, WIDTH, *channels)


def list_patterns(parts: int = PARTS) -> Tensor:
    """Every pattern of present parts, none and all among them: (2^parts, parts)."""
    return torch.tensor([[bool(number >> part & 1) for part in range(parts)] for number in range(2**parts)])


def make_inputs(fusion: nn.Module, present: Tensor, seed: int = 0, absent: float = 0.0) -> Inputs:
    """What `Model.fuse` passes on: embeddings that are zeros where a part is absent; of the tokens these, and those of
    padding, are `absent`."""
    rng = torch.Generator().manual_seed(seed)
    batch, parts = present.shape
    embeddings = torch.randn(batch, parts, WIDTH, generator=rng).masked_fill(~present.unsqueeze(2), 0).requires_grad_()
    if not reads_tokens(fusion):
        return embeddings, present
    encoded = []
    for part in range(parts):
        valid = torch.arange(STEPS[part]) < torch.randint(1, STEPS[part] + 1, (batch, 1), generator=rng)
        tokens = torch.randn(batch, STEPS[part], CHANNELS[part], generator=rng)
        hidden = ~(valid & present[:, part : part + 1])
        encoded.append(
            EncodedPart(embeddings[:, part].detach(), tokens.masked_fill(hidden.unsqueeze(2), absent), valid)
        )
    return embeddings, present, encoded


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("pattern", list_patterns()[1:].tolist(), ids=lambda pattern: "".join("01"[x] for x in pattern))
def test_a_fusion_is_finite_and_depends_on_each_part_there(name: str, pattern: Sequence[bool]) -> None:
    fusion = build_fusion(name)
    embeddings, present, *encoded = make_inputs(fusion, torch.tensor([pattern] * BATCH))
    fused = fusion(embeddings, present, *encoded)
    assert fused.shape == (BATCH, WIDTH)
    assert fused.isfinite().all()
    fused.square().sum().backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert all((embeddings.grad.abs().amax((0, 2)) > 0)[torch.tensor(pattern)])


@pytest.mark.parametrize("name", FUSIONS)
def test_every_parameter_is_in_the_state_and_gets_a_gradient(name: str) -> None:
    fusion = build_fusion(name)
    fused = fusion(*make_inputs(fusion, list_patterns().repeat(8, 1)))
    (fused * torch.randn(fused.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    parameters = dict(fusion.named_parameters())
    assert set(parameters) == set(fusion.state_dict())
    assert [n for n, p in parameters.items() if p.grad is None or not p.grad.abs().max() > 0] == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters.values())


@pytest.mark.parametrize("name", FUSIONS)
def test_what_is_masked_changes_no_bit(name: str) -> None:
    """Neither of the output nor of the gradients, also where it is NaN."""
    results = []
    for absent in (0.0, float("nan")):
        fusion = build_fusion(name)
        fused = fusion(*make_inputs(fusion, list_patterns(), absent=absent))
        fused.square().sum().backward()
        results.append([fused, *(p.grad for p in fusion.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_sample_is_fused_alike_alone_and_in_a_batch(name: str) -> None:
    fusion = build_fusion(name).eval()
    embeddings, present, *encoded = make_inputs(fusion, list_patterns())
    fused = fusion(embeddings, present, *encoded)
    for row in range(len(present)):
        alone = [[EncodedPart(*(values[row : row + 1] for values in each)) for each in part] for part in encoded]
        torch.testing.assert_close(fusion(embeddings[row : row + 1], present[row : row + 1], *alone)[0], fused[row])


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_that_is_saved_and_loaded_gives_the_same_bits(name: str) -> None:
    fusion, other = build_fusion(name), build_fusion(name, seed=1)
    other.load_state_dict(safetensors.torch.load(encode_weights(fusion.state_dict())))
    inputs = make_inputs(fusion, list_patterns())
    assert torch.equal(fusion(*inputs), other(*inputs))


@pytest.mark.parametrize("name", FUSIONS)
def test_bfloat16_is_close_to_float32(name: str) -> None:
    fusion = build_fusion(name)
    inputs = make_inputs(fusion, list_patterns())
    exact = fusion(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = fusion(*inputs)
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_is_one_graph_to_compile_and_to_export(name: str) -> None:
    fusion = build_fusion(name).eval()
    inputs = make_inputs(fusion, list_patterns())
    exact = fusion(*inputs)
    torch._dynamo.reset()
    assert torch.equal(torch.compile(fusion, backend="eager", fullgraph=True)(*inputs), exact)
    torch.testing.assert_close(torch.export.export(fusion, inputs).module()(*inputs), exact)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("parts", [1, 2])
def test_any_number_of_parts_is_fused(name: str, parts: int) -> None:
    fusion = build_fusion(name, parts)
    fused = fusion(*make_inputs(fusion, list_patterns(parts)))
    assert fused.shape == (2**parts, WIDTH)
    assert fused.isfinite().all()


def test_a_sum_by_weights_that_are_equal_is_the_mean() -> None:
    inputs = make_inputs(build_fusion("mean"), list_patterns())
    torch.testing.assert_close(build_fusion("weighted")(*inputs), build_fusion("mean")(*inputs))


def test_the_outer_product_has_all_products() -> None:
    """Against the definition, by NumPy's outer product."""
    fusion = build_fusion("tensor", 2)
    assert isinstance(fusion, TensorFusion)
    embeddings, present = make_inputs(fusion, torch.ones(1, 2, dtype=torch.bool))[:2]
    one, other = (torch.cat([embeddings[0, p] @ fusion.narrow[p], torch.ones(1)]).detach() for p in range(2))
    expected = fusion.outlet(torch.outer(one, other).flatten())
    torch.testing.assert_close(fusion(embeddings, present)[0], expected)


def test_an_outer_product_of_too_many_parts_is_refused() -> None:
    with pytest.raises(InputError, match=r"train\.fusion is tensor; it must be another one for 13 parts"):
        FUSIONS["tensor"](13, WIDTH)
