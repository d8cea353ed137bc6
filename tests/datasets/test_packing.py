"""Packing: every token once an epoch, whole documents, full rows, the same rows however they are read."""

import json
import pickle
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import FormatError, Loader, Mix, ShardDataset, StateError
from shardwright.datasets.packing import Packing, pack_lengths
from shardwright.datasets.permutation import permute_groups
from tests.support.ragged_sets import PADDING, draw_lengths, write_ragged

SIZE = 64
LENGTHS = np.append(draw_lengths(150, 20, 1.0, 200), [0, 64, 128, 129])

drawn_lengths = st.lists(st.integers(0, 90), max_size=120).map(lambda drawn: np.array(drawn, np.int64))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    with write_ragged(tmp_path_factory.mktemp("ragged"), LENGTHS) as opened:
        yield opened


def list_tokens(lengths: NDArray[np.int64]) -> list[int]:
    return [1000 * number + at for number, length in enumerate(lengths.tolist()) for at in range(length)]


@given(drawn_lengths, st.integers(1, 40), st.integers(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_every_token_is_in_one_place(lengths: NDArray[np.int64], size: int, seed: int, epoch: int) -> None:
    packing = Packing(lengths, size)
    pieces = packing.find_pieces(np.arange(len(packing)), (seed, epoch))
    places = np.concatenate(
        [
            np.zeros(0, int),
            *(np.arange(at, at + n) for at, n in zip(pieces.rows * size + pieces.offsets, pieces.lengths, strict=True)),
        ]
    )
    assert len(places) == len(np.unique(places)) == lengths.sum()
    assert ((pieces.offsets >= 0) & (pieces.offsets + pieces.lengths <= size)).all()
    tokens = [
        1000 * document + at
        for document, start, length in zip(*map(np.ndarray.tolist, pieces[2:]), strict=True)
        for at in range(start, start + length)
    ]
    assert sorted(tokens) == list_tokens(lengths)
    whole = lengths[pieces.documents] <= size
    assert np.array_equal(pieces.lengths[whole], lengths[pieces.documents][whole])
    assert np.unique(pieces.rows).tolist() == list(range(len(packing)))


@given(drawn_lengths, st.integers(1, 40), st.data())
@settings(max_examples=40, deadline=None)
def test_rows_are_found_by_themselves(lengths: NDArray[np.int64], size: int, draw: st.DataObject) -> None:
    packing = Packing(lengths, size)
    rows = np.array(
        draw.draw(st.lists(st.integers(0, max(0, len(packing) - 1)), max_size=5 * (len(packing) > 0))), np.int64
    )
    part, whole = packing.find_pieces(rows, (1, 2)), packing.find_pieces(np.arange(len(packing)), (1, 2))
    for number, row in enumerate(rows.tolist()):
        for found, expected in zip(part[1:], whole[1:], strict=True):
            assert np.array_equal(found[part.rows == number], expected[whole.rows == row])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(), st.integers())
def test_groups_are_permuted_by_themselves(sizes: list[int], seed: int, epoch: int) -> None:
    counts, groups = np.repeat(sizes, sizes), np.repeat(np.arange(len(sizes)), sizes)
    positions = np.concatenate([np.arange(size) for size in sizes])
    permuted = permute_groups(positions, counts, groups, seed, epoch)
    for group, size in enumerate(sizes):
        assert sorted(permuted[groups == group].tolist()) == list(range(size))
    part = permute_groups(positions[::2], counts[::2], groups[::2], seed, epoch)
    assert np.array_equal(part, permuted[::2])


def test_permutations_of_groups_are_fair() -> None:
    firsts = [permute_groups(np.zeros(500, int), np.full(500, 5), np.arange(500), 0, epoch) for epoch in range(20)]
    counts = np.bincount(np.concatenate(firsts), minlength=5)
    assert (np.abs(counts / 10_000 - 0.2) < 0.02).all()


def test_rows_are_as_full_as_the_best_of_small_cases() -> None:
    counts = np.bincount([6, 5, 5, 4, 3, 3, 2, 2], minlength=11)
    patterns = pack_lengths(counts, 10)
    assert sum(rows for _, rows in patterns) == 3
    assert all(sum(items) <= 10 for items, _ in patterns)


@pytest.mark.parametrize("size", [1024, 2048, 8192])
def test_waste_on_lengths_of_texts_is_below_a_thousandth(size: int) -> None:
    packing = Packing(draw_lengths(20_000, 400, 1.0, 50_000), size)
    assert packing.measure_padding() < 0.001


def test_documents_have_other_neighbours_in_each_epoch() -> None:
    packing = Packing(draw_lengths(10_000, 100, 0.5, 1000), 2048)
    rows = np.arange(len(packing))

    def list_rows(epoch: int) -> list[frozenset[int]]:
        pieces = packing.find_pieces(rows, (0, epoch))
        return [
            frozenset(part.tolist()) for part in np.split(pieces.documents, np.flatnonzero(np.diff(pieces.rows)) + 1)
        ]

    assert list_rows(1) == list_rows(1)
    assert len(set(list_rows(1)) & set(list_rows(2))) < 0.02 * len(rows)


def test_a_row_has_its_documents_with_positions_and_numbers(data: ShardDataset) -> None:
    packed = data.pack("tokens", SIZE)
    batch = packed.gather(range(len(packed)))
    assert list(batch) == ["key", "tokens", "positions", "document"]
    for tokens, positions, document in zip(batch["tokens"], batch["positions"], batch["document"], strict=True):
        filled = document > 0
        assert (tokens[~filled] == PADDING).all()
        assert (positions[~filled] == 0).all()
        numbers = document[filled]
        assert numbers[0] == 1
        assert np.isin(np.diff(numbers), (0, 1)).all()
        for number in range(1, numbers.max() + 1):
            piece = tokens[document == number]
            assert np.array_equal(piece - piece[0], np.arange(len(piece)))
            assert np.array_equal(positions[document == number], np.arange(len(piece)))
    assert sorted(batch["tokens"][batch["document"] > 0].tolist()) == list_tokens(LENGTHS)


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"threads": 2}, {"processes": 1}, {"cache": "memory"}, {"batch_size": 2, "world_size": 2}],
)
def test_a_loader_delivers_each_token_once_however_rows_are_read(data: ShardDataset, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"batch_size": 4, "shuffle": True, "seed": 5} | options
    loaders = [Loader(data.pack("tokens", SIZE), rank=rank, **given) for rank in range(options.get("world_size", 1))]
    epochs = []
    for _ in range(2):
        steps = [list(loader) for loader in loaders]
        assert len({len(of_rank) for of_rank in steps}) == 1
        batches = [batch for of_rank in steps for batch in of_rank]
        tokens = np.concatenate(
            [batch["tokens"][batch["valid"]][batch["document"][batch["valid"]] > 0] for batch in batches]
        )
        assert sorted(tokens.tolist()) == list_tokens(LENGTHS)
        epochs.append(tokens.tolist())
    assert epochs[0] != epochs[1]
    for loader in loaders:
        loader.close()


def test_resumed_at_any_batch(data: ShardDataset) -> None:
    def make(**options: Any) -> Loader:
        return Loader(data.pack("tokens", SIZE, **options), 3, shuffle=True, seed=1)

    def read(loader: Loader) -> list[list[list[int]]]:
        return [batch["tokens"].tolist() for batch in loader]

    whole, stopped, resumed = make(), make(), make()
    epochs = [read(whole), read(whole)]
    list(islice(stopped, 5))
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed.load_state_dict(state)
    assert [read(resumed), read(resumed)] == [epochs[0][5:], epochs[1]]
    with pytest.raises(StateError, match="dataset"):
        make(reshuffle=False).load_state_dict(state)


def test_without_reshuffling_rows_are_the_same_in_each_epoch(data: ShardDataset) -> None:
    packed = data.pack("tokens", SIZE, reshuffle=False)
    loader = Loader(packed, 4, shuffle=False)
    first, second = ([batch["tokens"].tolist() for batch in loader] for _ in range(2))
    assert first == second
    assert packed.fixed
    assert pickle.loads(pickle.dumps(packed)).hash == packed.hash
    part = packed.take([1, 3]).select(["tokens"]).gather([1])
    assert list(part) == ["key", "tokens"]
    assert part["tokens"].tolist() == [packed.gather([3])["tokens"][0].tolist()]


def test_lists_of_arrays_are_measured_or_given_lengths(data: ShardDataset) -> None:
    lists = data.with_transform(cut_tokens)
    expected = data.pack("tokens", SIZE).gather([0, 5])["tokens"]
    for packed in (
        lists.pack("tokens", SIZE),
        lists.pack(["tokens", "weights"], SIZE, lengths=LENGTHS),
        data.pack("tokens", SIZE, lengths="tokens_length"),
    ):
        rows = packed.gather([0, 5])
        document = rows["document"]
        assert rows["tokens"][document > 0].tolist() == expected[document > 0].tolist()
    weights = lists.pack(["tokens", "weights"], SIZE, lengths=LENGTHS).gather([0])
    assert weights["weights"].dtype == np.float32
    assert np.array_equal(weights["weights"] > 0, weights["document"] > 0)
    longer = lists.pack("tokens", SIZE, lengths=LENGTHS + 1)
    with pytest.raises(FormatError, match="fewer than its length"):
        longer.gather(range(len(longer)))


def cut_tokens(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    tokens = sample["tokens"][: int(sample["tokens_length"])]
    return {"tokens": tokens, "weights": np.ones(len(tokens), np.float32)}


def test_what_is_asked_for_must_make_sense(data: ShardDataset, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no field 'other'"):
        data.pack("other", SIZE)
    with pytest.raises(ValueError, match="size is 0"):
        data.pack("tokens", 0)
    with pytest.raises(ValueError, match="names"):
        data.pack([], SIZE)
    with pytest.raises(FormatError, match="a value a token"):
        data.pack("n", SIZE, lengths=LENGTHS)
    with pytest.raises(FormatError, match="weights"):
        Mix([data], [1.0]).pack("tokens", SIZE)
    with pytest.raises(FormatError, match="no token"):
        data.take([150]).pack("tokens", SIZE)
    with pytest.raises(FormatError, match="no metadata"):
        data.pack("tokens", SIZE).meta(0)
