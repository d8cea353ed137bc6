"""Values of varying length in batches: padded to the batch's longest, or ragged, from any source."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shardwright import FormatError, Loader, Mix, RaggedArray, ShardDataset, ops
from shardwright.datasets.base import SampleSource
from shardwright.loading.batch_reader import ReadBatch, to_tensors
from shardwright.loading.device import DeviceTransfer
from tests.support.ragged_sets import PADDING, draw_lengths, write_ragged

LENGTHS = np.append(draw_lengths(40, 8, 0.8, 50), [0, 50])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    with write_ragged(tmp_path_factory.mktemp("ragged"), LENGTHS) as opened:
        yield opened


def make_tokens(row: int) -> NDArray[np.int32]:
    return 1000 * row + np.arange(LENGTHS[row], dtype=np.int32)


def cut_tokens(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"tokens": sample["tokens"][: int(sample["tokens_length"])]}


SOURCES: dict[str, Callable[[SampleSource], SampleSource]] = {
    "padded": lambda data: data,
    "lists": lambda data: data.with_transform(cut_tokens),
    "mix": lambda data: Mix([data, data]),
    "selected": lambda data: data.select(["tokens", "tokens_length"]),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("rows", [[3, 7, 1], [40], [41, 40], []])
def test_a_batch_is_cut_to_its_longest_or_ragged(data: ShardDataset, kind: str, rows: list[int]) -> None:
    source = SOURCES[kind](data)
    padded, ragged = (source.decode(tokens=layout).gather(rows) for layout in (ops.Pad(), ops.Ragged()))
    if not rows:
        assert padded["key"] == ragged["key"] == []
        return
    lengths = LENGTHS[rows]
    assert padded["tokens_length"].tolist() == ragged["tokens_length"].tolist() == lengths.tolist()
    assert padded["tokens"].shape == (len(rows), lengths.max())
    assert isinstance(ragged["tokens"], RaggedArray)
    assert ragged["tokens"].lengths.tolist() == lengths.tolist()
    fill = 0 if kind == "lists" else PADDING
    for number, row in enumerate(rows):
        assert np.array_equal(padded["tokens"][number, : LENGTHS[row]], make_tokens(row))
        assert (padded["tokens"][number, LENGTHS[row] :] == fill).all()
        assert np.array_equal(ragged["tokens"][number], make_tokens(row))
    assert ragged["tokens"].values.dtype == padded["tokens"].dtype == np.int32


def test_padding_has_the_length_and_value_that_were_asked_for(data: ShardDataset) -> None:
    assert data.decode(tokens=ops.Pad(multiple=16)).gather([41])["tokens"].shape == (1, 64)
    batch = data.decode(tokens=ops.Pad(to=60, value=7)).gather([3])
    assert batch["tokens"].shape == (1, 60)
    assert (batch["tokens"][0, LENGTHS[3] :] == 7).all()
    with pytest.raises(FormatError, match=r"'00041'.*length 50, over to=20"):
        data.decode(tokens=ops.Pad(to=20)).gather([3, 41])


def test_a_sample_alone_has_its_own_length(data: ShardDataset) -> None:
    view = data.decode(tokens=ops.Pad())
    samples = view.read_samples([3, 41, 40])
    assert [len(sample["tokens"]) for sample in samples] == LENGTHS[[3, 41, 40]].tolist()
    assert np.array_equal(view[5]["tokens"], make_tokens(5))
    sums = view.with_transform(lambda sample, rng: {"sum": int(sample["tokens"].sum())})
    assert sums.gather([3, 41])["sum"].tolist() == [make_tokens(3).sum(), make_tokens(41).sum()]


def test_views_of_a_layout(data: ShardDataset) -> None:
    view = data.decode(tokens=ops.Pad())
    assert view.names == data.names
    assert list(view.fields) == ["tokens_length", "n"]
    assert view.take([3, 5]).gather([1])["tokens"].tolist() == [make_tokens(5).tolist()]
    assert list(view.select(["tokens"]).gather([3])) == ["key", "tokens"]
    assert list(view.select(["n", "tokens_length"]).gather([3])) == ["key", "n", "tokens_length"]
    assert pickle.loads(pickle.dumps(view)).hash == view.hash
    assert (
        len({data.hash, view.hash, data.decode(tokens=ops.Ragged()).hash, data.decode(tokens=ops.Pad(value=1)).hash})
        == 4
    )
    with pytest.raises(FormatError, match="mix first"):
        Mix([view, view])
    with pytest.raises(FormatError, match="has a layout already"):
        view.decode(tokens=ops.Ragged())
    with pytest.raises(KeyError, match="no field 'other'"):
        data.decode(other=ops.Pad())
    with pytest.raises(FormatError, match="no field 'tokens_length'"):
        data.select(["tokens"]).decode(tokens=ops.Pad())
    with pytest.raises(FormatError, match="needs an array of numbers"):
        data.with_transform(lambda sample, rng: {"tokens": "text"}).decode(tokens=ops.Pad()).gather([0])
    for wrong in ({"to": 0}, {"to": "longest"}, {"multiple": 0}):
        with pytest.raises(ValueError, match="must be"):
            ops.Pad(**wrong)
    with pytest.raises(TypeError, match="must be an operation"):
        ops.Ragged(len)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2}, {"processes": 1}, {"cache": "memory"}])
@pytest.mark.parametrize("layout", [ops.Pad(), ops.Ragged()])
def test_a_loader_delivers_tensors_however_they_are_read(
    data: ShardDataset, layout: Any, options: dict[str, Any]
) -> None:
    with Loader(data.decode(tokens=layout), 5, shuffle=True, **options) as loader:
        for _ in range(2):
            seen = []
            for batch in loader:
                tokens = batch["tokens"]
                parts = (tokens.values, tokens.offsets) if isinstance(tokens, RaggedArray) else (tokens,)
                assert all(isinstance(part, torch.Tensor) for part in parts)
                for number, length in enumerate(batch["tokens_length"].tolist()):
                    if batch["valid"][number]:
                        seen.append(tokens[number][:length].tolist())
            assert sorted(seen) == sorted(make_tokens(row).tolist() for row in range(len(LENGTHS)))


def test_the_parts_of_a_ragged_array_are_on_the_device(data: ShardDataset) -> None:
    delivery = to_tensors(ReadBatch(data.decode(tokens=ops.Ragged()).gather(range(5)), 5))
    tokens = DeviceTransfer("meta").send(delivery).delivery.batch["tokens"]
    assert tokens.values.device.type == tokens.offsets.device.type == "meta"


def test_batches_of_similar_lengths_are_padded_to_their_own_longest(data: ShardDataset) -> None:
    loader = Loader(data.decode(tokens=ops.Pad()), budget=60, by="tokens_length", shuffle=True)
    assert all(batch["tokens"].numel() <= 60 for batch in loader)


def test_a_device_cache_is_refused(data: ShardDataset) -> None:
    with pytest.raises(ValueError, match='cache is "device"'):
        Loader(data.decode(tokens=ops.Pad()), 5, shuffle=True, cache="device")


def test_a_ragged_array_has_one_view_a_sample() -> None:
    ragged = RaggedArray(np.arange(5), np.array([0, 2, 2, 5]))
    assert [part.tolist() for part in ragged] == [[0, 1], [], [2, 3, 4]]
    assert len(ragged) == 3
    assert ragged[-1].tolist() == [2, 3, 4]
    assert ragged.map(lambda part: part * 2).lengths.tolist() == [4, 0, 6]
    with pytest.raises(IndexError):
        ragged[3]
