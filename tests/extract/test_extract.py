"""extract: every sample is in one shard or dropped, and the bytes do not depend on workers, order or place."""

import gc
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import webdataset

from pipeline.extract.feature_entry import MAX_CAPTION
from pipeline.incremental.library_versions import read_versions
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES as TABLE
from pipeline.runtime.sandbox.fork_server import ONE_THREAD
from pipeline.tables.contracts import EXTRACT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Rejection
from shardwright.datasets.shard_dataset import ShardDataset
from shardwright.format.jpeg import decode_jpeg
from shardwright.format.manifest import Manifest, read_manifest
from shardwright.format.verify import verify
from tests.support.factory_extract import (
    MEDIA_TYPES,
    ROOT,
    USUAL,
    Thing,
    draw_item,
    extract_things,
    make_params,
    make_things,
    read_all,
    run_extract,
    write_corpus,
)

pytestmark = pytest.mark.slow

Task = TypeVar("Task")
Result = TypeVar("Result")


def hash_outputs(folder: Path) -> dict[str, str]:
    """sha256 by path of all that extract writes under `folder / "data"`."""
    paths = [path for out in (SHARDS_FOLDER, EXTRACT_FOLDER) for path in sorted((folder / "data" / out).rglob("*"))]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths if p.is_file()}


def read_shards(manifest: Manifest) -> dict[str, str]:
    """sha256 by name of all shards."""
    return {shard.name: shard.sha256 for split in manifest.splits.values() for shard in split.shards}


class LastFirst:
    """Workers that finish the last task first."""

    def run_tasks(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        for number in reversed(range(len(tasks))):
            yield number, function(tasks[number])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which 32 things were extracted in this process, into four shards a split."""
    folder = tmp_path_factory.mktemp("made")
    extract_things(folder, make_things(32), make_params(shards=4))
    return folder


@pytest.fixture(scope="module")
def root(made: Path) -> Path:
    return made / "data" / SHARDS_FOLDER


# The same bytes


def test_workers_give_the_same_bytes(made: Path, tmp_path: Path) -> None:
    extract_things(tmp_path, make_things(32), make_params(shards=4), workers=2)
    assert hash_outputs(tmp_path) == hash_outputs(made)


def test_a_cluster_of_a_client_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(32))
    run_extract(tmp_path, make_params(shards=4), client="tests.support.client_functions:make_tls_client")
    assert hash_outputs(tmp_path) == hash_outputs(made)


def test_the_order_in_which_things_come_and_tasks_are_finished_changes_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.extract.step.open_executor", lambda *_: nullcontext(LastFirst()))
    extract_things(tmp_path, make_things(32)[::-1], make_params(shards=4))
    assert hash_outputs(tmp_path) == hash_outputs(made)


def test_a_new_sample_touches_its_own_shard_alone(tmp_path: Path) -> None:
    params, modalities = make_params(shards=8), ("image", "audio")
    old = extract_things(tmp_path / "old", make_things(32, modalities=modalities), params)
    new = extract_things(tmp_path / "new", make_things(33, modalities=modalities), params)
    before, after = read_shards(read_manifest(old)), read_shards(read_manifest(new))
    changed = {name for name in after if after[name] != before.get(name)}
    number = hashlib.sha256(b"thing-032").digest()[0] >> 5
    assert changed == {f"train-{number:06d}.tar"}


# What is in the shards


def test_every_sample_is_there_once_with_what_it_was_made_of(root: Path) -> None:
    manifest = read_manifest(root)
    assert verify(root).ok
    assert {name: split.samples for name, split in manifest.splits.items()} == {"train": 24, "val": 4, "test": 4}
    assert manifest.classes == ("one", "two")
    assert list(manifest.fields) == ["image", "mfcc", "mfcc_length", "tokens", "tokens_length", "label"]
    for thing in make_things(32):
        sample = read_all(root, thing.split)[thing.key]
        assert manifest.classes[sample["label"]] == thing.label
        for name, item in draw_arrays(thing, root).items():
            np.testing.assert_array_equal(sample[name], item, err_msg=f"{thing.key} {name}")


def draw_arrays(thing: Thing, root: Path) -> dict[str, Any]:
    """What the modalities give for the things that a sample is made of, without shards between."""
    params, words = make_params(), json.loads((root / "vocabulary.json").read_text())
    arrays: dict[str, Any] = {}
    for name in thing.modalities:
        item = MediaItem(draw_item(thing.key, name), MEDIA_TYPES[name])
        extracted = TABLE[name].extract(item, params.features[name], words)
        assert not isinstance(extracted, Rejection)
        arrays |= extracted
    return arrays


@pytest.mark.filterwarnings("ignore:.*unclosed file")  # webdataset leaves its files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stock_webdataset_reads_what_we_read(root: Path) -> None:
    for split in ("train", "val", "test"):
        ours = read_all(root, split)
        urls = [str(root / split / shard.name) for shard in read_manifest(root).splits[split].shards]
        theirs = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False).decode()}
        assert list(theirs) == list(ours)
        for key, name in itertools.product(ours, read_manifest(root).fields):
            np.testing.assert_array_equal(theirs[key][f"{name}.npy"], ours[key][name])
    gc.collect()


JPEG = {"image__store": "jpeg", "image__quality": 80}


def test_images_kept_as_jpeg_are_those_that_the_modality_gives(tmp_path: Path) -> None:
    """The same bytes from nothing and from a cache; the statistics are those of the pixels that come out."""
    blind = [Thing(f"blind-{number}", modalities=("audio",)) for number in range(3)]
    things, params = [*make_things(16, modalities=("image", "audio")), *blind], make_params(shards=2, **JPEG)
    root = extract_things(tmp_path / "one", things, params)
    made = hash_outputs(tmp_path / "one")
    extract_things(tmp_path / "two", things[:9], params)
    for folder in ("one", "two"):  # all shards are kept, or some samples are
        shutil.rmtree(tmp_path / folder / "data")
        extract_things(tmp_path / folder, things, params)
        assert hash_outputs(tmp_path / folder) == made
    manifest = read_manifest(root)
    assert (manifest.version, manifest.fields["image"].encoding, verify(root).ok) == (3, "jpeg", True)
    seen = []
    for key, sample in read_all(root).items():
        if key.startswith("blind"):
            assert not sample["image"].any()
            continue
        item = MediaItem(draw_item(key, "image"), "image/png")
        extracted = TABLE["image"].extract(item, params.features["image"], None)
        assert not isinstance(extracted, Rejection)
        wanted = decode_jpeg(np.frombuffer(extracted["image"], np.uint8), (12, 16, 3))
        np.testing.assert_array_equal(sample["image"], wanted)
        seen.append(wanted.reshape(-1, 3))
    assert manifest.statistics is not None
    values = np.concatenate(seen).astype(np.float64)
    np.testing.assert_allclose(manifest.statistics["image"].mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(manifest.statistics["image"].std, values.std(axis=0), rtol=1e-12)


def test_tar_lists_every_member(root: Path) -> None:
    shard = read_manifest(root).splits["val"].shards[0]
    with tarfile.open(root / "val" / shard.name) as tar:
        names = tar.getnames()
    fields = [*(f"{name}.npy" for name in read_manifest(root).fields), "meta.json"]
    keys = [name.split(".")[0] for name in names[:: len(fields)]]
    assert names == [f"{key}.{field}" for key in keys for field in fields]


def test_meta_says_where_things_are_from_and_nothing_that_is_unknown(tmp_path: Path) -> None:
    thing = Thing("bell-1", label="bell", modalities=("image", "text"), contents={"text": "Día".encode()})
    data = ShardDataset(extract_things(tmp_path, [thing]), "train")
    meta = data.meta(0)
    items = meta.pop("items")
    assert meta == {"key": "bell-1", "split": "train", "group": "group of bell-1", "label": "bell", "caption": "Día"}
    assert sorted(items) == ["image", "text"]
    assert items["image"].pop("id")
    assert items["image"] == {"source": "folder", "file": "bell-1.png", "licence": "CC0", "attribution": "nobody"}


def test_one_long_text_does_not_make_every_sample_large(tmp_path: Path) -> None:
    book = Thing("book", contents={"text": b"word " * 5000})
    root = extract_things(tmp_path, [*make_things(8), book])
    data = ShardDataset(root, "train")
    caption = data.meta(data.find_sample("book"))["caption"]
    assert len(caption) == MAX_CAPTION
    assert caption.endswith("…")
    assert read_manifest(root).splits["train"].shards[0].meta_bytes < 2 * MAX_CAPTION


def test_samples_may_share_an_item_whole_or_in_spans(tmp_path: Path) -> None:
    """Each span has its own feature; equal ones are computed once, and their seconds are in each meta."""
    spans: list[tuple[float | None, float | None]] = [(None, None), (None, 0.1), (0.1, None), (0.1, 0.2), (0.1, 0.2)]
    waveform = draw_item("long", "audio")
    things = [
        Thing(f"clip-{number}", modalities=("audio",), contents={"audio": waveform}, spans={"audio": span})
        for number, span in enumerate(spans)
    ]
    write_corpus(tmp_path / "data", things)
    outcome = run_extract(tmp_path, make_params())
    assert "features: 0 reused, 4 computed (4 audio)" in outcome.notes
    data = ShardDataset(tmp_path / "data" / SHARDS_FOLDER, "train")
    for thing, (start, end) in zip(things, spans, strict=True):
        number = data.find_sample(thing.key)
        item = MediaItem(waveform, "audio/wav", start=start, end=end)
        arrays = TABLE["audio"].extract(item, make_params().features["audio"], None)
        assert not isinstance(arrays, Rejection)
        np.testing.assert_array_equal(data[number]["mfcc"], arrays["mfcc"])
        noted = data.meta(number)["items"]["audio"]
        assert (noted.get("start"), noted.get("end")) == (start, end)


# Any of the modalities


@pytest.mark.parametrize("used", [c for n in (1, 2, 3) for c in itertools.combinations(USUAL, n)], ids="+".join)
def test_any_subset_of_the_modalities(used: tuple[str, ...], tmp_path: Path) -> None:
    root = extract_things(tmp_path, make_things(8, modalities=used))
    manifest = read_manifest(root)
    assert manifest.extract is not None
    assert list(manifest.extract["modalities"]) == sorted(used)
    assert list(manifest.extract["params"]) == sorted(used)
    own = {"image": ["image"], "audio": ["mfcc", "mfcc_length"], "text": ["tokens", "tokens_length"]}
    assert list(manifest.fields) == [*(field for name in used for field in own[name]), "label"]
    assert (root / "vocabulary.json").exists() == (manifest.vocabulary is not None) == ("text" in used)
    assert set(manifest.statistics or ()) == {"image", "mfcc"} & set(manifest.fields)


def test_what_some_samples_lack_is_zero_and_marked(tmp_path: Path) -> None:
    mute = [Thing(f"mute-{number}", modalities=("image", "text")) for number in range(3)]
    root = extract_things(tmp_path, [*make_things(8), *mute])
    manifest = read_manifest(root)
    assert list(manifest.fields)[-2:] == ["audio_present", "label"]
    assert manifest.fields["audio_present"].dtype == "uint8"
    assert "image_present" not in manifest.fields
    for key, sample in read_all(root).items():
        assert sample["audio_present"] == (not key.startswith("mute"))
        assert bool(sample["mfcc"].any()) == bool(sample["mfcc_length"]) == bool(sample["audio_present"])


def test_without_labels_there_is_no_label(tmp_path: Path) -> None:
    manifest = read_manifest(extract_things(tmp_path, make_things(8, modalities=("image",))[:1]))
    assert manifest.classes == ("one",)
    unlabelled = [replace(thing, label=None) for thing in make_things(8, modalities=("image",))]
    manifest = read_manifest(extract_things(tmp_path / "unlabelled", unlabelled))
    assert manifest.classes is None
    assert "label" not in manifest.fields


# What is counted over the training split


def test_the_vocabulary_is_that_of_the_training_split(tmp_path: Path) -> None:
    texts = {"train": b"a bell rings", "val": b"a drum rings", "test": b"a horn rings"}
    things = [Thing(split, split, contents={"text": text}, modalities=("text",)) for split, text in texts.items()]
    root = extract_things(tmp_path, things)
    words = json.loads((root / "vocabulary.json").read_text())["words"]
    assert sorted(words[2:]) == ["a", "bell", "rings"]
    tokens = read_all(root, "val")["val"]["tokens"]
    assert tokens.tolist() == [words.index("a"), 1, words.index("rings"), 0, 0]


def test_statistics_are_those_of_the_training_split_without_padding(tmp_path: Path) -> None:
    mute = [Thing(f"mute-{number}", modalities=("image", "text")) for number in range(3)]
    root = extract_things(tmp_path, [*make_things(32), *mute], make_params(shards=4))
    samples = list(read_all(root).values())
    pixels = np.concatenate([sample["image"].reshape(-1, 3) for sample in samples]).astype(np.float64)
    frames = np.concatenate([sample["mfcc"][: sample["mfcc_length"]] for sample in samples]).astype(np.float64)
    statistics = read_manifest(root).statistics
    assert statistics is not None
    for name, values in {"image": pixels, "mfcc": frames}.items():
        assert statistics[name].count == len(values)
        np.testing.assert_allclose(statistics[name].mean, values.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(statistics[name].std, values.std(axis=0), rtol=1e-12)


def test_without_training_samples_there_are_no_statistics(tmp_path: Path) -> None:
    manifest = read_manifest(extract_things(tmp_path, [Thing("only", "test", modalities=("image",))]))
    assert manifest.statistics is None
    assert list(manifest.splits) == ["test"]


def test_the_record_says_what_made_the_dataset(made: Path, root: Path) -> None:
    record = json.loads((made / "data" / EXTRACT_FOLDER / "extract_record.json").read_text())
    assert record["dataset"] == read_manifest(root).hash
    assert record["params"] == make_params(shards=4).model_dump(mode="json")
    assert {"numpy", "spacy", "soxr"} <= set(record["libraries"])
    assert len(record["source"]) == 64


def test_the_record_lists_the_libraries_that_the_stage_imports(made: Path) -> None:
    record = json.loads((made / "data" / EXTRACT_FOLDER / "extract_record.json").read_text())
    assert record["libraries"].items() >= read_versions("stages.extract").items()
    assert {"av", "numpy", "opencv-python-headless", "pyarrow", "soundfile", "soxr", "spacy", "tokenizers"} <= set(
        record["libraries"]
    )
    assert not any(" " in name for name in record["libraries"])  # the machine is no library


def test_sources_are_counted_a_sample_and_do_not_name_the_dataset(made: Path, tmp_path: Path, root: Path) -> None:
    manifest = read_manifest(root)
    assert manifest.sources is not None
    assert [(source.licence, source.samples) for source in manifest.sources] == [("CC0", 32)]
    assert replace(manifest, sources=None).hash == manifest.hash


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_what_is_loaded_ahead_starts_no_thread() -> None:
    code = (
        "from pathlib import Path; from pipeline.extract.compute_features import load_libraries; "
        "from pipeline.extract.params import ExtractParams; "
        "from pipeline.config.check_params import check_block, read_params; "
        "load_libraries(check_block(read_params(Path('params.yaml')), 'extract', ExtractParams).features, False); "
        "import sys; print(len(list(Path('/proc/self/task').iterdir())), 'cv2' in sys.modules, 'spacy' in sys.modules)"
    )
    environment = {**os.environ, **ONE_THREAD}
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("1 True True\n", "")
