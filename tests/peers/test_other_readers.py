"""Shards in other readers: webdataset, HF datasets, Megatron-Energon and tarfile read every value.

Megatron-Energon writes its own files beside the tars, in a folder `.nv-meta`, and `shardwright verify` reports files
that are not in the manifest. So the tars are linked into a separate folder and prepared there:

    mkdir -p prepared/train && ln data/5_shards/train/*.tar prepared/train/
    energon prepare prepared --non-interactive --split-parts 'train:train/.*' --sample-type CrudeWebdataset
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import Field, Sample, verify
from shardwright.format.field import DTYPES
from tests.support.shard_samples import Written, assert_same_arrays, make_arrays, write_samples

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of other packages

FIELDS = {
    "image": Field("uint8", (5, 7, 3), axes="HWC"),
    "mfcc": Field("float32", (4, 6), axes="CT", padding=0.0),
    "label": Field("int64", ()),
    **{f"vector_{dtype}": Field(dtype, (3,)) for dtype in DTYPES},
    **{f"scalar_{dtype}": Field(dtype, ()) for dtype in DTYPES},
}
SPLITS = {"train": 23, "val": 5}


@pytest.fixture(scope="module", name="root")
def write_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    for split, samples in make_samples().items():
        write_samples(root, Written(FIELDS, samples), 6, split)
    return root


def make_samples() -> dict[str, list[Sample]]:
    """Return samples by split, with every dtype, scalars, and metadata of different lengths, which the shards pad."""
    rng = np.random.default_rng(0)
    return {split: [make_sample(f"{split}-{n:03d}", n, rng) for n in range(count)] for split, count in SPLITS.items()}


def make_sample(key: str, number: int, rng: np.random.Generator) -> Sample:
    arrays = make_arrays(FIELDS, rng)
    arrays["scalar_uint64"] = np.uint64(arrays["scalar_uint64"] >> 1)  # HF datasets takes each scalar for an int64
    return Sample(key, arrays, {"caption": "é" * (number % 5), "n": number, "words": ["a"] * 2})


def list_tars(root: Path, split: str) -> list[str]:
    return [str(path) for path in sorted((root / split).glob("*.tar"))]


def compare(found: Iterable[Mapping[str, Any]], split: str, ordered: bool = True) -> None:
    """Compare samples with the keys `__key__`, `<field>.npy` and `meta.json` with what was written."""
    expected = {sample.key: sample for sample in make_samples()[split]}
    rows = list(found)
    keys = [row["__key__"] for row in rows]
    assert (keys if ordered else sorted(keys)) == list(expected)
    for row in rows:
        sample = expected[row["__key__"]]
        assert {name for name in row if not name.startswith("__")} == {*(f"{name}.npy" for name in FIELDS), "meta.json"}
        assert_same_arrays({name: row[f"{name}.npy"] for name in FIELDS}, sample.arrays)
        assert row["meta.json"] == sample.meta


@pytest.mark.parametrize("split", SPLITS)
def test_tarfile(root: Path, split: str) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for path in list_tars(root, split):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                key, name = member.name.split(".", 1)
                content = file.read()
                value = json.loads(content) if name == "meta.json" else np.load(io.BytesIO(content), allow_pickle=False)
                rows.setdefault(key, {"__key__": key})[name] = value
    compare(rows.values(), split)


@pytest.mark.parametrize("split", SPLITS)
def test_webdataset(root: Path, split: str) -> None:
    import webdataset

    compare(webdataset.WebDataset(list_tars(root, split), shardshuffle=False).decode(), split)


@pytest.mark.parametrize("workers", [1, 2])
def test_webdataset_in_processes(root: Path, workers: int) -> None:
    import webdataset

    data = webdataset.WebDataset(list_tars(root, "train"), shardshuffle=4, seed=0).shuffle(10).decode()
    compare(webdataset.WebLoader(data, batch_size=None, num_workers=workers), "train", ordered=False)


@pytest.mark.parametrize("streaming", [True, False])
def test_hf_datasets(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = {split: list_tars(root, split) for split in SPLITS}
    found = datasets.load_dataset("webdataset", data_files=files, streaming=streaming, cache_dir=str(tmp_path))
    for split in SPLITS:
        compare((decode_lists(row) for row in found[split]), split)


def decode_lists(row: Mapping[str, Any]) -> dict[str, Any]:
    """Convert nested lists of numbers, as HF datasets returns them, to arrays of the fields' dtypes."""
    arrays = {f"{name}.npy": np.array(row[f"{name}.npy"], field.dtype) for name, field in FIELDS.items()}
    return {**row, **arrays}


@pytest.fixture(scope="module", name="prepared")
def prepare_for_energon(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with links to the tars, prepared by Megatron-Energon's command."""
    folder = tmp_path_factory.mktemp("prepared")
    for split in SPLITS:
        (folder / split).mkdir()
        for path in list_tars(root, split):
            os.link(path, folder / split / Path(path).name)
    parts = [option for split in SPLITS for option in ("--split-parts", f"{split}:{split}/.*")]
    energon = Path(sys.executable).with_name("energon")
    command = [energon, "prepare", folder, "--non-interactive", *parts, "--sample-type", "CrudeWebdataset"]
    done = subprocess.run([*map(str, command), "--num-workers", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("split", SPLITS)
def test_megatron_energon(prepared: Path, split: str, workers: int) -> None:
    compare(read_with_energon(prepared, split, workers), split, ordered=not workers)


def test_preparing_does_not_change_the_dataset(root: Path, prepared: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["dataset.json", *sorted(SPLITS)]
    assert verify(root).problems == ()
    assert verify(root).samples == sum(SPLITS.values())
    assert (prepared / ".nv-meta").is_dir()


def read_with_energon(prepared: Path, split: str, workers: int) -> list[dict[str, Any]]:
    from megatron import energon

    @energon.stateless  # type: ignore[untyped-decorator]  # no type information is published for it
    def pass_through(sample: Any) -> Any:
        return sample

    class Encoder(energon.DefaultTaskEncoder):  # type: ignore[misc]  # nor here
        """Return each sample as it was decoded."""

        cookers = (energon.Cooker(pass_through),)

    data = energon.get_val_dataset(
        str(prepared),
        split_part=split,
        worker_config=energon.WorkerConfig(rank=0, world_size=1, num_workers=workers),
        batch_size=None,
        task_encoder=Encoder(),
    )
    return [dict(sample) for sample in energon.get_loader(data)]
