"""Fields decoded by operations: the same values however they are read, and errors that name the file."""

import json
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shardwright import DamageError, Field, FormatError, Loader, Mix, ShardDataset, StateError, ops
from shardwright.datasets.base import SampleSource
from shardwright.datasets.read_context import Content
from shardwright.ops.draws import draw_uniform
from shardwright.ops.operation import RowOperation
from tests.support.webdataset_tars import make_image, overwrite, user_cache, write_shards

__all__ = ["user_cache"]

Sample = tuple[str, dict[str, bytes]]


@dataclass(frozen=True)
class Draw(RowOperation):
    """Gives the size of the file and a random number."""

    stream: str | None = None

    @property
    def field(self) -> Field:
        return Field("float64", (2,))

    @property
    def draws(self) -> int:
        return 1

    def decode_row(self, content: Content, draws: NDArray[np.float64], out: NDArray[Any]) -> str | None:
        if len(content) == 3:
            raise ValueError("it has 3 bytes")
        out[:] = len(content), draws[0]
        return "it has 4 bytes" if len(content) == 4 else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def make_samples(count: int = 20) -> list[Sample]:
    return [(f"k{n:03d}", {"bin": bytes(10 + n), "raw": bytes(5), "cls": b"%d" % n}) for n in range(count)]


def open_set(folder: Path, samples: list[Sample], **options: Any) -> SampleSource:
    write_shards(folder, [samples[:7], samples[7:]])
    return ShardDataset.from_webdataset(folder, **options)


def test_values_are_a_function_of_seed_epoch_key_and_field_alone(folder: Path) -> None:
    data = open_set(folder, make_samples()).decode(bin=Draw(), raw=Draw())
    whole = data.gather(range(20))
    for rows in ([3], [19, 0, 3, 3], list(range(20))[::-1]):
        batch = data.gather(rows)
        assert np.array_equal(batch["bin"], whole["bin"][rows])
        assert np.array_equal(batch["raw"], whole["raw"][rows])
    assert not np.isin(whole["bin"][:, 1], whole["raw"][:, 1]).any()
    expected = draw_uniform(0, 0, "bin", whole["key"], 1)[:, 0]
    assert np.array_equal(whole["bin"][:, 1], expected)
    assert np.array_equal(data.take([2, 5, 9]).gather([1])["bin"], whole["bin"][[5]])


def test_fields_with_one_stream_share_their_numbers(folder: Path) -> None:
    batch = open_set(folder, make_samples()).decode(bin=Draw("crop"), raw=Draw("crop")).gather(range(20))
    assert np.array_equal(batch["bin"][:, 1], batch["raw"][:, 1])


def test_draws_are_uniform_and_differ() -> None:
    draws = draw_uniform(1, 2, "x", [str(n) for n in range(2000)], 10)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.01
    assert len(np.unique(draws)) == draws.size
    others = [
        draw_uniform(2, 2, "x", ["1"], 10),
        draw_uniform(1, 3, "x", ["1"], 10),
        draw_uniform(1, 2, "y", ["1"], 10),
    ]
    assert not np.isin(np.concatenate(others), draws).any()
    assert draw_uniform(1, 2, "x", ["a"], 0).shape == (1, 0)


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2}, {"shuffle": "block", "threads": 1}])
def test_a_loader_gives_the_same_batches_with_any_threads_and_after_resuming(
    folder: Path, options: dict[str, Any]
) -> None:
    data = open_set(folder, make_samples()).decode(bin=Draw())
    options = {"shuffle": True, "seed": 3} | options

    def read(loader: Loader) -> list[tuple[list[str], list[float]]]:
        return [(batch["key"], batch["bin"][:, 1].tolist()) for batch in loader]

    loader = Loader(data, 6, **options)
    epochs = [read(loader), read(loader)]
    first, second = ({key: draw for batch in epoch for key, draw in zip(*batch, strict=True)} for epoch in epochs)
    assert first.keys() == second.keys()
    assert all(first[key] != second[key] for key in first)
    stopped = Loader(data, 6, **options)
    batches = iter(stopped)
    next(batches)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = Loader(data, 6, **options)
    resumed.load_state_dict(state)
    assert read(resumed) == epochs[0][1:]


def test_another_operation_is_another_dataset(folder: Path) -> None:
    base = open_set(folder, make_samples())
    data, other = base.decode(bin=Draw()), base.decode(bin=Draw("crop"))
    assert len({base.hash, data.hash, other.hash}) == 3
    state = Loader(data, 4, shuffle=True).state_dict()
    with pytest.raises(StateError, match="dataset"):
        Loader(other, 4, shuffle=True).load_state_dict(state)


def test_views_of_decoded_fields(folder: Path) -> None:
    data = open_set(folder, make_samples()).decode(bin=Draw())
    whole = data.gather(range(20))
    assert data.names == ("bin", "cls", "raw")
    assert set(data.fields) == {"bin", "cls"}
    assert list(data.select(["cls"]).gather([1])) == ["key", "cls"]
    assert np.array_equal(data.select(["bin"]).gather([1])["bin"], whole["bin"][[1]])
    assert np.array_equal(data[4]["bin"], whole["bin"][4])
    doubled = data.with_transform(lambda sample, rng: {"twice": sample["bin"] * 2})
    assert np.array_equal(doubled.gather([7])["twice"], whole["bin"][[7]] * 2)
    again = pickle.loads(pickle.dumps(data))
    assert again.hash == data.hash
    assert np.array_equal(again.gather([7])["bin"], whole["bin"][[7]])
    chained = data.decode(raw=Draw()).gather([3])
    assert np.array_equal(chained["bin"], whole["bin"][[3]])
    assert chained["raw"].shape == (1, 2)
    mixed = Mix([data, data]).gather([3, 24])
    assert mixed["bin"].shape == (2, 2)


def test_what_cannot_be_decoded_is_refused(folder: Path) -> None:
    data = open_set(folder, make_samples())
    with pytest.raises(KeyError, match="no field 'other', there are"):
        data.decode(other=Draw())
    with pytest.raises(TypeError, match="must be an operation"):
        data.decode(bin=len)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="decoded already"):
        data.decode(bin=Draw()).decode(bin=Draw())
    with pytest.raises(FormatError, match="before it is mixed or transformed"):
        data.with_transform(lambda sample, rng: sample).decode(bin=Draw())
    with pytest.raises(FormatError, match="before it is mixed or transformed"):
        Mix([data]).decode(bin=Draw())
    with pytest.raises(KeyError, match="no field 'bin'"):
        data.select(["cls"]).decode(bin=Draw())


def test_a_file_that_cannot_be_decoded_is_named_or_skipped(folder: Path) -> None:
    samples = make_samples()
    samples[9][1]["bin"] = b"abc"
    data = open_set(folder, samples).decode(bin=Draw())
    with pytest.raises(DamageError, match=r"shard-001.tar: sample 'k009', bin at byte \d+: it has 3 bytes") as caught:
        data.gather(range(20))
    assert (caught.value.sample, caught.value.field) == ("k009", "bin")
    loader = Loader(data, 5, shuffle=False, on_error="skip")
    assert sum(int(batch["valid"].sum()) for batch in loader) == 19
    assert [skip.sample for skip in loader.skipped] == ["k009"]
    with pytest.raises(DamageError, match="k009"):
        data.take([9, 10]).gather([0])


def test_a_changed_byte_is_found_before_it_is_decoded(folder: Path) -> None:
    data = open_set(folder, make_samples()).decode(bin=Draw())
    shard = folder / "shard-000.tar"
    overwrite(shard, shard.read_bytes().index(b"k002.bin") + 512 + 3, b"\x01")
    with pytest.raises(DamageError, match=r"k002.*crc32"):
        data.gather(range(7))


def test_warnings_of_decoders_are_logged_once_with_the_file(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    samples = make_samples()
    samples[2][1]["bin"] = bytes(4)
    data = open_set(folder, samples).decode(bin=Draw())
    with caplog.at_level(logging.WARNING, "shardwright"):
        for _ in range(2):
            data.gather(range(5))
    assert len(caplog.records) == 1
    assert "'k002'" in caplog.text
    assert "it has 4 bytes" in caplog.text
    assert data.doubted == ((2, "bin"),)  # type: ignore[attr-defined]


def test_own_shards_decode_jpeg_files_and_arrays(tmp_path: Path) -> None:
    from shardwright import ShardWriter, encode_jpeg

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 40, 50, 3), np.uint8)
    fields = {"photo": Field("uint8", (40, 50, 3), encoding="jpeg"), "raw": Field("uint8", (40, 50, 3))}
    with ShardWriter(tmp_path, "train", fields) as writer:
        for number, image in enumerate(pixels):
            writer.write(f"{number:02d}", {"photo": encode_jpeg(image, 95), "raw": image}, {})
    data = ShardDataset(tmp_path, "train")
    decoded = data.decode(photo=ops.Image(ops.Resize((40, 50))), raw=ops.Image(ops.CenterCrop(20, resize=40)))
    batch, stored = decoded.gather(range(6)), data.gather(range(6))
    assert np.array_equal(batch["photo"], stored["photo"])
    assert np.array_equal(batch["raw"], stored["raw"][:, 10:30, 15:35])


def test_images_of_any_size_are_one_array(folder: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [(f"{n}", {"jpg": make_image(rng, (30 + n, 60 - n), ".jpg")}) for n in range(12)]
    data = open_set(folder, samples).decode(jpg=ops.Image(ops.RandomResizedCrop(16), flip=0.5))
    batch = next(iter(Loader(data, 12, shuffle=True)))
    assert batch["jpg"].shape == (12, 16, 16, 3)
