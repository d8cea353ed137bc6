"""Every subset of the modalities goes through the whole pipeline, from files to metrics."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.tables.contracts import MODALITIES
from tests.support.factory_video import write_with_opencv
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow

ENDINGS = {"image": "png", "audio": "wav", "text": "txt", "video": "avi"}
STILL = ("image", "audio", "text")
SOME = [subset for n in (2, 3) for subset in itertools.combinations(STILL, n)]
SUBSETS = [
    *((name,) for name in MODALITIES),
    MODALITIES,
    *(pytest.param(some, marks=pytest.mark.sweep) for some in SOME),
]
"""The sweep has those between one and all, which `test_extract` and `test_train` take apart."""

THINGS = 48


def write_image(path: Path, label: int, rng: np.random.Generator) -> None:
    import cv2

    image = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
    image[..., label] += 120
    assert cv2.imwrite(str(path), image)


def write_audio(path: Path, label: int, rng: np.random.Generator) -> None:
    import soundfile

    time = np.arange(4000) / 8000
    tone = np.sin(2 * np.pi * (300 + 500 * label) * time) + rng.normal(0, 0.05, len(time))
    soundfile.write(path, 0.3 * tone, 8000)


def write_text(path: Path, label: int, rng: np.random.Generator) -> None:
    words = [["low", "dark", "red"], ["high", "bright", "green"]][label]
    first, second = words[rng.integers(3)], words[rng.integers(3)]
    path.write_text(f"a {first} thing beside {second} number {rng.integers(10**6)}")


def write_video(path: Path, label: int, rng: np.random.Generator) -> None:
    frames = []
    for _ in range(4):
        frame = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
        frame[..., label] += 120
        frames.append(frame)
    write_with_opencv(path, frames, "MJPG")


WRITERS = {"image": write_image, "audio": write_audio, "text": write_text, "video": write_video}


def make_corpus(folder: Path, modalities: tuple[str, ...]) -> None:
    """Files named `<label>_<group>_<number>.<ending>`: label and group come from the name."""
    folder.mkdir()
    for number in range(THINGS):
        label = number % 2
        for modality in modalities:
            path = folder / f"{['low', 'high'][label]}_g{number // 3}_{number}.{ENDINGS[modality]}"
            WRITERS[modality](path, label, np.random.default_rng([number, ord(modality[0])]))


def make_params(modalities: tuple[str, ...], root: Path) -> dict[str, Any]:
    pattern = r"(?P<key>(?P<label>[a-z]+)_(?P<group>g\d+)_\d+)\.{}"
    rules = {m: {"required": True, "pattern": pattern.format(ENDINGS[m]), "part": None} for m in modalities}
    return edit_params(
        crawl__start=[], ingest__root=str(root), align__by="pattern", align__label="path", align__modalities=rules,
        extract__image__height=16, extract__image__width=16, extract__audio__seconds=0.5, extract__text__min_count=1,
        extract__video__frames=2, extract__video__height=16, extract__video__width=16,
        train__modalities=list(modalities), train__epochs=2, train__batch_size=8, evaluate__worst=2,
    )  # fmt: skip


JPEG, HALVES = {"store": "jpeg"}, {"dtype": "float16"}


@pytest.mark.parametrize(("stored", "readers"), [(JPEG, ("shardwright", "webdataset")), (HALVES, ("shardwright",))])
def test_images_go_through_the_pipeline_in_every_form(
    stored: dict[str, str], readers: tuple[str, ...], tmp_path: Path
) -> None:
    make_corpus(tmp_path / "files", ("image",))
    params = make_params(("image",), tmp_path / "files")
    params["extract"]["image"] |= stored
    run_stages(params, tmp_path, until="extract")
    for reader in readers:
        shutil.copytree(tmp_path / "data", tmp_path / reader / "data")
        params["train"] |= {"reader": reader, "epochs": 1}
        run_stages(params, tmp_path / reader, since="train")
        metrics = json.loads((tmp_path / reader / "data/7_report/metrics.json").read_text())
        assert 0 <= metrics["macro_f1"] <= 1


@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_every_subset_goes_through_the_pipeline(modalities: tuple[str, ...], tmp_path: Path) -> None:
    make_corpus(tmp_path / "files", modalities)
    outcomes = run_stages(make_params(modalities, tmp_path / "files"), tmp_path)
    assert outcomes["ingest"].kept == THINGS * len(modalities)
    assert outcomes["extract"].kept == THINGS
    metrics = json.loads((tmp_path / "data/7_report/metrics.json").read_text())
    assert 0 <= metrics["macro_f1"] <= 1
