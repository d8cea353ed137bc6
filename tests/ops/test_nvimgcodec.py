"""JPEG files decoded by nvImageCodec, with its decoder on the CPU: crops, what it leaves to others, and the hash."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shardwright import DamageError, Loader, ShardDataset, ShardwrightError, encode_jpeg, ops
from shardwright.ops import nvimgcodec
from shardwright.ops.crops import Box
from tests.ops.test_image import FORMATS, draw
from tests.support.factory_codecs import decode_files
from tests.support.webdataset_tars import rotate_jpeg, write_shards

pytest.importorskip("nvidia.nvimgcodec")
DECODER = ops.NvImageCodec("cpu")
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
ON_ANY_DEVICE = pytest.mark.parametrize("decoder", [DECODER, pytest.param(ops.NvImageCodec("cuda"), marks=NO_GPU)])
CROPS = [ops.Resize((40, 64)), ops.CenterCrop((32, 48)), ops.RandomResizedCrop((24, 40))]


def decode(operation: ops.Image, contents: list[Any], draws: Any = ()) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = decode_files(operation, contents, draws)[""]
    return pixels


def open_images(folder: Path, contents: list[bytes]) -> Any:
    write_shards(folder, [[(f"{number:02d}", {"jpg": content}) for number, content in enumerate(contents)]])
    return ShardDataset.from_webdataset(folder, cache=folder / "index")


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("orientation", [1, 2, 3, 6, 8])
def test_crops_are_those_of_the_usual_decoder(orientation: int, crop: Any, antialias: bool) -> None:
    contents = [
        rotate_jpeg(encode_jpeg(draw(*shape, 1), 95), orientation) for shape in ((120, 200), (90, 61), (31, 33))
    ]
    usual = ops.Image(crop, flip=0.5, scaled=False, antialias=antialias)
    draws = np.random.default_rng(orientation).random((3, usual.draws))
    expected = decode(usual, contents, draws).astype(int)
    found = decode(replace(usual, decoder=DECODER), contents, draws)
    assert np.abs(found - expected).max() <= 1
    assert np.abs(found - expected).mean() < 0.25  # float32 here, integers there


@NO_GPU
def test_a_gpu_gives_nearly_the_same_pixels() -> None:
    contents = [encode_jpeg(draw(*shape), 90) for shape in ((120, 200), (90, 61), (31, 33))]
    usual = ops.Image(ops.Resize(64), scaled=False)
    found = decode(replace(usual, decoder=ops.NvImageCodec()), contents)
    assert np.abs(found - decode(usual, contents).astype(int)).mean() < 2


@ON_ANY_DEVICE
def test_a_file_has_the_same_pixels_in_any_batch(decoder: ops.NvImageCodec) -> None:
    contents = [encode_jpeg(draw(30 + 7 * number, 90, number), 90) for number in range(9)]
    operation = ops.Image(ops.RandomResizedCrop(24), decoder=decoder)
    draws = np.random.default_rng(0).random((9, operation.draws))
    together = decode(operation, contents, draws)
    alone = [decode(operation, [content], [numbers])[0] for content, numbers in zip(contents, draws, strict=True)]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_decoded_as_without_it(name: str) -> None:
    contents = [FORMATS[name](draw(60, 90)), encode_jpeg(draw(60, 90, 1), 90), FORMATS[name](draw(60, 90, 2))]
    operation = ops.Image(ops.Resize((60, 90)))
    assert np.array_equal(decode(replace(operation, decoder=DECODER), contents), decode(operation, contents))


def test_what_it_does_not_decode_is_decoded_as_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [encode_jpeg(draw(60, 90, number), 90) for number in range(4)]
    operation = ops.Image(ops.Resize((60, 90)))
    expected = decode(operation, contents)
    open_stream = nvimgcodec._open_stream
    refused = {contents[1], contents[2]}
    monkeypatch.setattr(
        nvimgcodec,
        "_open_stream",
        lambda library, content: None if content in refused else open_stream(library, content),
    )
    assert np.array_equal(decode(replace(operation, decoder=DECODER), contents), expected)


def test_what_the_other_decoder_says_is_of_the_file_that_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encode_jpeg(draw(64, 64), 90)
    contents = [whole, whole[: len(whole) // 2] + b"\xff\xd9", whole]
    monkeypatch.setattr(nvimgcodec, "_open_stream", lambda library, content: None)
    decoded: Any = open_images(tmp_path, contents).decode(jpg=ops.Image(ops.Resize(64), decoder=DECODER))
    list(Loader(decoded, 3, shuffle=False, threads=0))
    assert decoded.doubted == ((1, "jpg"),)


def test_damage_names_its_sample(tmp_path: Path) -> None:
    whole = encode_jpeg(draw(64, 64), 90)
    data = open_images(tmp_path, [whole if number != 2 else whole[: len(whole) // 2] for number in range(5)])
    decoded = data.decode(jpg=ops.Image(ops.Resize(16), decoder=DECODER))
    with pytest.raises(DamageError) as caught:
        list(Loader(decoded, 5, shuffle=False, threads=1))
    assert caught.value.sample == "02"


@ON_ANY_DEVICE
def test_batches_are_the_same_on_any_number_of_threads(tmp_path: Path, decoder: ops.NvImageCodec) -> None:
    data = open_images(tmp_path, [encode_jpeg(draw(50, 40 + number, number), 90) for number in range(30)])
    decoded = data.decode(jpg=ops.Image(ops.RandomResizedCrop(16), flip=0.5, decoder=decoder))
    expected = [batch["jpg"] for batch in Loader(decoded, 7, shuffle=True, threads=0)]
    for threads in (1, 3):
        found = [batch["jpg"] for batch in Loader(decoded, 7, shuffle=True, threads=threads)]
        assert all(map(torch.equal, found, expected))


def test_the_hash_tells_decoders_apart() -> None:
    usual = ops.Image(ops.Resize(8))
    assert "decoder" not in usual.describe()
    described = [replace(usual, decoder=ops.NvImageCodec(device)).describe() for device in ("cuda", "cpu")]
    assert described[0]["decoder"] == {"op": "NvImageCodec", "device": "cuda"}
    assert described[0] != described[1]


def test_files_are_decoded_in_groups_of_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvimgcodec, "GROUP_PIXELS", 1000)
    sizes = [(20, 20), (20, 20), (20, 20), (90, 90), (1, 1), (10, 100)]
    parts = [nvimgcodec.Part(b"", *size, Box(0, 0, 1, 1), (1, 1)) for size in sizes]
    groups = list(nvimgcodec.cut_groups(parts))
    assert [part for group in groups for part in group] == parts
    assert [len(group) for group in groups] == [2, 1, 1, 1, 1]
    assert list(nvimgcodec.cut_groups([])) == []
    contents = [encode_jpeg(draw(30, 40, number), 90) for number in range(5)]
    operation = ops.Image(ops.Resize(16))
    assert (
        np.abs(decode(replace(operation, decoder=DECODER), contents) - decode(operation, contents).astype(int)).max()
        <= 1
    )


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ValueError, match="it has 50 × 40 pixels; max_pixels allows 1999"):
        decode(ops.Image(ops.Resize(8), max_pixels=1999, decoder=DECODER), [encode_jpeg(draw(40, 50), 90)])


def test_without_a_gpu_or_the_package_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode_jpeg(draw(20, 20), 90)
    with pytest.raises(ValueError, match="device is 'tpu'; it must be one of 'cuda', 'cpu'"):
        ops.NvImageCodec("tpu")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ShardwrightError, match="needs a GPU, and PyTorch finds none; leave decoder= out"):
        decode(ops.Image(ops.Resize(8), decoder=ops.NvImageCodec()), [content])
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    monkeypatch.delattr("nvidia.nvimgcodec")
    with pytest.raises(ModuleNotFoundError, match=r"pip install shardwright\[nvimgcodec\]"):
        decode(ops.Image(ops.Resize(8), decoder=DECODER), [content])
