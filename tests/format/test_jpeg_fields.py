"""Fields of JPEG files: the pixels that OpenCV decodes, with every way to read, and checks of every file."""

import io
import itertools
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import webdataset
from numpy.typing import NDArray

from shardwright import (
    DamageError,
    Field,
    FileRecord,
    FormatError,
    Loader,
    Mix,
    ShardDataset,
    ShardWriter,
    encode_jpeg,
    read_manifest,
    verify,
    write_manifest,
)
from shardwright.cli.main import main
from shardwright.format.index import index_dtype, iterate_indexes, write_index
from shardwright.loading.window_reader import Blocks
from shardwright.remote.location import Access
from tests.support.access_files import access_ways
from tests.support.factory_media import draw_scene, insert_segments, make_exif, make_segment
from tests.support.old_sets import make_old
from tests.support.remote_sets import Published, open_set, serve_set
from tests.support.shard_samples import JPEG_FIELDS, read_tree, read_value, write_small

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 24, 36
FIELD = Field("uint8", (HEIGHT, WIDTH, 3), axes="HWC", encoding="jpeg")
FIELDS = {"image": FIELD, "label": Field("int64", ())}


def draw_file(seed: int = 0, quality: int = 90) -> bytes:
    return encode_jpeg(np.ascontiguousarray(draw_scene(HEIGHT, WIDTH, seed)[:, :, ::-1]), quality)


def write_scenes(root: Path, count: int = 10, split: str = "train", samples_per_shard: int = 4) -> list[bytes]:
    files = [draw_file(n, 40 + 5 * n) for n in range(count)]
    write_files(root, files, split, samples_per_shard)
    return files


def write_files(root: Path, files: list[bytes], split: str = "train", samples_per_shard: int = 4) -> None:
    with ShardWriter(root, split, FIELDS, samples_per_shard) as writer:
        for number, file in enumerate(files):
            writer.write(f"scene-{number}", {"image": file, "label": number}, {"n": number})


def stack(files: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([read_value(file) for file in files])


# Valid and invalid files


def test_pixels_survive_up_to_the_loss_of_jpeg() -> None:
    scene = np.ascontiguousarray(draw_scene(HEIGHT, WIDTH)[:, :, ::-1])
    file = encode_jpeg(scene, 95)
    assert file == encode_jpeg(scene, 95)
    assert b"Exif" not in file
    assert b"\xff\xc0" in file, "a baseline frame"
    assert np.abs(read_value(file).astype(int) - scene).mean() < 8, "colours are sub-sampled; in another order it is 60"
    assert not read_value(encode_jpeg(np.zeros_like(scene), 100)).any()


@pytest.mark.parametrize(
    ("pixels", "quality"),
    [
        (np.zeros((4, 4), np.uint8), 90),
        (np.zeros((4, 4, 4), np.uint8), 90),
        (np.zeros((4, 4, 3), np.float32), 90),
        (np.zeros((0, 4, 3), np.uint8), 90),
        (np.zeros((4, 4, 3), np.uint8), 0),
        (np.zeros((4, 4, 3), np.uint8), 101),
    ],
)
def test_encode_jpeg_refuses_other_arrays_and_qualities(pixels: NDArray[Any], quality: int) -> None:
    with pytest.raises(ValueError, match=r"pixels are .*; (they|height)|quality is .*; it must"):
        encode_jpeg(pixels, quality)


def grow_frame(file: bytes) -> bytes:
    """Return the file with another height in its header."""
    at = file.index(b"\xff\xc0") + 5
    return file[:at] + struct.pack(">H", 2 * HEIGHT) + file[at + 2 :]


INVALID_FILES: dict[str, tuple[Callable[[bytes], object], str]] = {
    "pixels": (read_value, "is a ndarray; it must be the bytes of a JPEG file"),
    "nothing": (lambda file: b"", "not a JPEG file"),
    "cut": (lambda file: file[:-1], "not a JPEG file"),
    "more after the end": (lambda file: file + b"\0", "not a JPEG file"),
    "a PNG": (lambda file: bytes(cv2.imencode(".png", draw_scene(HEIGHT, WIDTH))[1]), "not a JPEG file"),
    "no frame": (lambda file: file[:4] + file[-2:], "before the"),
    "another size": (grow_frame, f"{2 * HEIGHT} × {WIDTH} pixels; the field has {HEIGHT} × {WIDTH}"),
}


@pytest.mark.parametrize("name", INVALID_FILES)
def test_a_file_that_does_not_fit_the_field_is_refused(tmp_path: Path, name: str) -> None:
    change, message = INVALID_FILES[name]
    with ShardWriter(tmp_path, "train", FIELDS) as writer:
        with pytest.raises(FormatError, match=message) as caught:
            writer.write("scene", {"image": change(draw_file()), "label": 0})
        assert "sample 'scene', field 'image'" in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "encoding"),
    [
        ("float32", (4, 4, 3), "jpeg"),
        ("uint8", (4, 4), "jpeg"),
        ("uint8", (4, 4, 1), "jpeg"),
        ("uint8", (65_501, 1, 3), "jpeg"),
        ("uint8", (4, 4, 3), "png"),
    ],
)
def test_a_jpeg_field_must_be_uint8_rgb(dtype: str, shape: tuple[int, ...], encoding: str) -> None:
    with pytest.raises(FormatError, match=r"encoding 'jpeg' is .*; it must be uint8|encoding is 'png'"):
        Field(dtype, shape, encoding=encoding)


# Ways to read


@access_ways
@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("order", [True, "block", "none"])
def test_batches_are_one_tensor_of_the_pixels_that_opencv_decodes(
    tmp_path: Path, access: Access, threads: int, order: Any
) -> None:
    expected = stack(write_scenes(tmp_path))
    with ShardDataset(tmp_path, "train", access=access) as data:
        loader = Loader(data, 3, shuffle=order, threads=threads, blocks=Blocks(4096, 2))
        for _ in range(2):
            batches = list(loader)
            assert sorted(int(label) for batch in batches for label in batch["label"]) == list(range(10))
            for batch in batches:
                assert batch["image"].dtype == torch.uint8
                np.testing.assert_array_equal(batch["image"].numpy(), expected[batch["label"].numpy()])


def test_a_map_is_decoded_without_a_copy_and_cannot_be_written_to(tmp_path: Path) -> None:
    files = write_scenes(tmp_path)
    with ShardDataset(tmp_path, "train") as data:
        data._index.load_all()
        starts, offsets, sizes = data._offsets.locate(np.arange(4))
        found = data._files.read_ranges(starts + offsets[0], np.asarray(sizes[0]))
        assert [content.tobytes() for content in found] == files[:4]
        assert len({id(content.base) for content in found}) == 1
        assert not any(content.flags.writeable or content.flags.owndata for content in found)


def test_views_mixes_and_caches(tmp_path: Path) -> None:
    expected = stack(write_scenes(tmp_path / "files"))
    with ShardWriter(tmp_path / "arrays", "train", FIELDS | {"image": replace(FIELD, encoding="npy")}, 4) as writer:
        for number, pixels in enumerate(expected):
            writer.write(f"scene-{number}", {"image": pixels, "label": number})
    data, arrays = ShardDataset(tmp_path / "files", "train"), ShardDataset(tmp_path / "arrays", "train")
    even = data.filter(lambda meta: meta["n"] % 2 == 0)
    np.testing.assert_array_equal(even.gather(range(5))["image"], expected[::2])
    turned = data.with_transform(lambda sample, rng: {"turned": sample["image"][::-1]})
    np.testing.assert_array_equal(turned[3]["turned"], expected[3][::-1])
    for cache in ("memory", "device", "auto"):
        loader = Loader(data, 4, shuffle=True, cache=cache)
        for batch in itertools.chain(loader, loader):
            np.testing.assert_array_equal(batch["image"].numpy(), expected[batch["label"].numpy()])
    mixed = list(Loader(Mix([data, arrays], [1, 1]), 4, shuffle=True))
    assert sum(len(batch["key"]) for batch in mixed) == 20
    for batch in mixed:
        np.testing.assert_array_equal(batch["image"].numpy(), expected[batch["label"].numpy()])
    with pytest.raises(FormatError, match="in source 0 it is"):
        Mix([data, arrays.select(["label"])], [1, 1])


def test_a_rank_resumes_at_its_position(tmp_path: Path) -> None:
    expected = stack(write_scenes(tmp_path))
    with ShardDataset(tmp_path, "train") as data:
        loader = Loader(data, 2, shuffle="block", rank=1, world_size=2, blocks=Blocks(4096, 2))
        whole = [batch["key"] for batch in loader]
        other = Loader(data, 4, shuffle="block", rank=0, world_size=1, blocks=Blocks(4096, 2))
        other.load_state_dict(loader.state_dict() | {"epoch": 0, "position": 1})
        rest = list(other)
        assert [batch["key"][1::2] for batch in rest] == whole[1:]
        for batch in rest:
            np.testing.assert_array_equal(batch["image"].numpy(), expected[batch["label"].numpy()])


def test_a_url_gives_the_same_samples_as_its_folder(tmp_path: Path) -> None:
    published = Published(tmp_path / "published", write_small(tmp_path / "published", 15, fields=JPEG_FIELDS))
    with serve_set(published) as site, open_set(site, tmp_path / "cache") as data:
        published.check(data)
        published.check(data, [13, 2, 2, 7])
    with serve_set(published) as site, open_set(site, tmp_path / "scarce", cache_bytes=published.room_for(1)) as data:
        published.check(data)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset does not close its files
def test_stock_webdataset_and_our_reader_of_its_shards_decode_the_same(tmp_path: Path) -> None:
    expected = stack(write_scenes(tmp_path))
    urls = [str(path) for path in sorted((tmp_path / "train").glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in found] == [f"scene-{n}" for n in range(10)]
    for number, sample in enumerate(found):
        assert np.abs(sample["image.jpg"].astype(int) - expected[number]).max() <= 3, "decoders differ by rounding"
        assert (int(sample["label.npy"]), sample["meta.json"]) == (number, {"n": number})
    with ShardDataset.from_webdataset(urls, cache=tmp_path / "cache") as foreign:
        np.testing.assert_array_equal(foreign.gather(range(10))["image.jpg"], expected)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    write_scenes(tmp_path / "one")
    write_scenes(tmp_path / "other")
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "other")


def test_exif_rotation_is_ignored_and_grey_is_repeated(tmp_path: Path) -> None:
    file = draw_file()
    turned = insert_segments(file, make_segment(0xE1, b"Exif\0\0" + make_exif(6)))
    grey = bytes(cv2.imencode(".jpg", draw_scene(HEIGHT, WIDTH)[:, :, 0])[1])
    write_files(tmp_path, [turned, grey])
    with ShardDataset(tmp_path, "train") as data:
        np.testing.assert_array_equal(data[0]["image"], read_value(file))
        np.testing.assert_array_equal(data[1]["image"], read_value(grey))


def test_only_selected_fields_are_decoded(tmp_path: Path) -> None:
    """Without a decoder all other fields are read, and the error says what to install."""
    write_scenes(tmp_path)
    code = (
        "import sys; sys.modules['cv2'] = sys.modules['simplejpeg'] = None\n"
        "from shardwright import ShardDataset, verify\n"
        "data = ShardDataset(sys.argv[1], 'train')\n"
        "print(data.select(['label'])[3]['label'], data.meta(3)['n'], verify(sys.argv[1]).ok)\n"
        "try: data[3]\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    first, second = run.stdout.splitlines()
    assert first == "3 3 True"
    assert "pip install opencv-python-headless" in second
    assert "data.select" in second


def test_either_decoder_suffices(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    code = (
        "import sys, zlib; sys.modules[sys.argv[2]] = None\n"
        "from shardwright import ShardDataset\n"
        "print(zlib.crc32(ShardDataset(sys.argv[1], 'train')[3]['image']))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, tmp_path, missing],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for missing in ("cv2", "simplejpeg")
    ]
    assert said[0] == said[1]


def test_info_and_show_name_the_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_scenes(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    assert f"image: uint8 ({HEIGHT}, {WIDTH}, 3), HWC, stored as jpeg" in capsys.readouterr().out
    assert main(["ls", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    assert main(["show", str(tmp_path), "scene-3", "--png", str(tmp_path / "shown")]) == 0
    assert f"image: uint8 ({HEIGHT}, {WIDTH}, 3), min " in capsys.readouterr().out
    shown = np.asarray(cv2.imread(str(tmp_path / "shown" / "scene-3.image.png")))
    np.testing.assert_array_equal(shown[:, :, ::-1], read_value(files[3]))
    assert main(["bench", str(tmp_path), "--seconds", "0", "--batch-size", "4"]) == 0
    assert main(["verify", str(tmp_path)]) == 0


# Forged datasets, in which every hash is right


def rewrite_index(root: Path, change: Callable[[NDArray[Any]], object]) -> None:
    """Change the index of all samples, that of the split or those of its shards, with the right sha256."""
    manifest = read_manifest(root)
    split, folder = manifest.splits["train"], root / "train"
    parts = [index.copy() for _, index in iterate_indexes(folder, manifest.fields, split)]
    whole = np.concatenate(parts)
    assert whole.dtype == index_dtype(manifest.fields)
    change(whole)
    if split.index is not None:
        record = FileRecord("index.npy", write_index(folder / "index.npy", whole))
        forged = replace(split, index=record)
    else:
        stops = np.cumsum([len(part) for part in parts])
        changed = zip(split.shards, np.split(whole, stops[:-1]), strict=True)
        shards = [replace(s, index_sha256=write_index(folder / s.index_name, part)) for s, part in changed]
        forged = replace(split, shards=tuple(shards))
    write_manifest(root, replace(manifest, splits={"train": forged}))


def add(column: str, row: int, by: int) -> Callable[[NDArray[Any]], object]:
    def change(index: NDArray[Any]) -> None:
        index[column][row] += np.array(by).astype(index[column].dtype)

    return change


FORGERIES: dict[str, tuple[Callable[[NDArray[Any]], object], str, str | None]] = {
    "a sample in another": (add("offset", 5, 512), "train-000001.tar", "scene-5"),
    "a sample beyond the shard": (add("offset", 4, 2**63), "train-000001.tar", "scene-4"),
    "a sample before the shard": (add("offset", 4, 2**64 - 512), "train-000001.tar", "scene-4"),
    "a file of a block more": (add("size", 1, 512), "train-000000.tar", "scene-2"),
    "a last file of a block more": (add("size", 3, 512), "train-000000.tar", None),
    "an endless file": (lambda index: index["size"].fill(2**32 - 1), "train-000000.tar", "scene-1"),
    "empty files": (lambda index: index["size"].fill(0), "train-000000.tar", "scene-1"),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.parametrize("old", [False, True])
def test_impossible_offsets_are_refused_before_they_are_used(tmp_path: Path, name: str, old: bool) -> None:
    change, shard, sample = FORGERIES[name]
    write_scenes(tmp_path)
    if old:
        make_old(tmp_path)
    rewrite_index(tmp_path, change)
    with pytest.raises(DamageError, match=shard) as caught:
        ShardDataset(tmp_path, "train").gather(range(10))
    assert (caught.value.shard, caught.value.sample) == (shard, sample)
    problems = verify(tmp_path).problems
    index = "train/index.npy" if old else f"train/{shard.removesuffix('.tar')}.index.npy"
    assert any(problem.shard == index and shard in problem.what for problem in problems)


def test_a_wrong_size_within_its_block_is_found_by_the_checksum(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    rewrite_index(tmp_path, add("size", 2, -1))
    with ShardDataset(tmp_path, "train") as data:
        assert data[1]["label"] == 1
        with pytest.raises(DamageError, match=r"image\.jpg at byte \d+: its crc32") as caught:
            data[2]
    assert (caught.value.sample, caught.value.field) == ("scene-2", "image")
    assert {problem.sample for problem in verify(tmp_path).problems} == {"scene-2"}


def break_scan(file: bytes) -> bytes:
    """Return a file whose header is right and that no decoder can decode."""
    at = file.index(b"\xff\xc0")
    return file[:at] + file[at : at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")] + b"\xff\xd9"


def test_files_of_another_shape_are_reported_before_they_are_decoded(tmp_path: Path) -> None:
    """A manifest with the right hash and another size of the images."""
    write_scenes(tmp_path)
    other = FIELDS | {"image": replace(FIELD, shape=(WIDTH, HEIGHT, 3))}
    write_manifest(tmp_path, replace(read_manifest(tmp_path), fields=other))
    with ShardDataset(tmp_path, "train") as data:
        with pytest.raises(DamageError, match=rf"'scene-6', image\.jpg .*{HEIGHT} × {WIDTH} pixels") as caught:
            data[6]
        assert (caught.value.shard, caught.value.sample) == ("train-000001.tar", "scene-6")
        loader = Loader(data.select(["label"]), 4, shuffle=True)
        assert sum(len(batch["key"]) for batch in loader) == 10
    assert {problem.sample for problem in verify(tmp_path).problems} == {f"scene-{n}" for n in range(10)}


@access_ways
@pytest.mark.parametrize("order", [True, "block"])
def test_a_file_that_cannot_be_decoded_is_reported_or_skipped(tmp_path: Path, access: Access, order: Any) -> None:
    files = [draw_file(n) for n in range(6)]
    files[4] = break_scan(files[4])
    write_files(tmp_path, files)
    with ShardDataset(tmp_path, "train", access=access) as data:
        with pytest.raises(DamageError, match="OpenCV cannot decode it") as caught:
            data.gather([1, 4])
        assert (caught.value.shard, caught.value.sample) == ("train-000001.tar", "scene-4")
        loader = Loader(data, 3, shuffle=order, on_error="skip", blocks=Blocks(4096, 2))
        valid = [int(n) for batch in loader for n in batch["label"][batch["valid"]]]
        assert sorted(valid) == [0, 1, 2, 3, 5]
        assert [skip.sample for skip in loader.skipped] == ["scene-4"]


def test_a_manifest_whose_version_does_not_have_its_fields(tmp_path: Path) -> None:
    write_scenes(tmp_path)
    assert read_manifest(tmp_path).version == 3
    assert read_manifest(make_old(tmp_path)).version == 2
    assert replace(read_manifest(tmp_path), fields={"image": replace(FIELD, encoding="npy")}, splits={}).version == 1
    assert "encoding" not in replace(FIELD, encoding="npy").to_json()


def test_an_index_of_arrays_has_no_offsets(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", {"label": Field("int64", ())}) as writer:
        writer.write("a", {"label": 1})
    content = (tmp_path / "train" / "train-000000.index.npy").read_bytes()
    assert np.load(io.BytesIO(content)).dtype.names == ("key", "crc32")
