"""The params files of `examples/` fit the layouts of public sets: small imitations become the samples they should."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.tables.contracts import INGESTED_FOLDER, PARTS, SAMPLES
from pipeline.tables.table_files import read_table
from pipeline.tasks.generation.report import COLUMNS
from tests.support.factory_media import draw_scene, encode_audio, encode_jpeg, make_tone
from tests.support.running import edit_params, run_stages
from tests.support.webdataset_tars import make_tar

pytestmark = pytest.mark.slow


def draw_jpeg(seed: int) -> bytes:
    return encode_jpeg(draw_scene(seed=seed))


def record(seed: int, kind: str, rate: int = 16_000) -> bytes:
    return encode_audio(make_tone(rate, 0.6, seed=seed), rate, kind)


def write(root: Path, name: str, content: bytes | str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_rows(header: Iterable[str], rows: Iterable[Iterable[object]], delimiter: str = ",") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([list(header), *map(list, rows)])
    return file.getvalue()


def write_coco(root: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        names = {number: f"{number:012d}.jpg" for number in range(count)}
        for number, name in names.items():
            write(root, f"{split}2017/{name}", draw_jpeg(number + 10 * (split == "val")))
        document = {
            "images": [{"id": number, "file_name": name, "height": 90, "width": 120} for number, name in names.items()],
            "annotations": [
                {"image_id": number, "id": 10 * number + turn, "caption": f"{split} scene {number} told {turn}"}
                for turn in range(5)
                for number in names
            ],
        }
        write(root, f"annotations/captions_{split}2017.json", json.dumps(document))


def write_flickr30k(root: Path) -> None:
    lines = ["image_name| comment_number| comment"]
    for number in range(4):
        write(root, f"flickr30k_images/{number}.jpg", draw_jpeg(number))
        lines += [f"{number}.jpg| {turn}| A scene {number} , told {turn} ." for turn in range(5)]
    write(root, "results.csv", "\n".join(lines) + "\n")


def write_flickr8k(root: Path) -> None:
    colours, hours = ("red", "green", "blue"), ("dawn", "noon", "dusk", "night")
    rows = []
    for number in range(12):
        write(root, f"Images/{number}_a1.jpg", draw_jpeg(number))
        colour, hour = colours[number % 3], hours[number // 3]
        rows += [
            (f"{number}_a1.jpg", f"A {colour} hill at {hour} , number {number} told {turn} .") for turn in range(5)
        ]
    write(root, "captions.txt", write_rows(("image", "caption"), rows))


def write_librispeech(root: Path) -> None:
    for split, speaker in (("train-clean-100", 19), ("train-clean-100", 26), ("dev-clean", 84), ("test-clean", 61)):
        folder = f"{split}/{speaker}/198"
        lines = []
        for number in range(2):
            name = f"{speaker}-198-{number:04d}"
            write(root, f"{folder}/{name}.flac", record(10 * speaker + number, "FLAC"))
            lines.append(f'{name} CHAPTER {number} OF THE "SPEAKER" {speaker}\n')
        write(root, f"{folder}/{speaker}-198.trans.txt", "".join(lines))
    write(root, "SPEAKERS.TXT", "; the speakers\n")


def write_common_voice(root: Path) -> None:
    header = ("client_id", "path", "sentence_id", "sentence", "up_votes", "age", "locale")
    rows = []
    for number in range(12):
        write(root, f"clips/common_voice_en_{number}.mp3", record(number, "MP3"))
        rows.append(
            (f"client{number // 2}", f"common_voice_en_{number}.mp3", "s", f"It's number {number}.", 2, "", "en")
        )
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    write(root, "validated.tsv", "\n".join(lines) + "\n")


def write_esc50(root: Path) -> None:
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    rows = []
    for number in range(12):
        name = f"{number % 5 + 1}-{1000 + number}-A-{number % 2}.wav"
        write(root, f"audio/{name}", record(number, "WAV", 22_050))
        rows.append((name, number % 5 + 1, number % 2, ("dog", "rain")[number % 2], "True", 1000 + number, "A"))
    write(root, "meta/esc50.csv", write_rows(header, rows))
    write(root, "README.md", "# ESC-50\n")


def write_fsdd(root: Path) -> None:
    for speaker in range(6):
        for digit in range(3):
            name = f"recordings/{digit}_{'abcdef'[speaker] * 4}_{speaker}.wav"
            write(root, name, record(10 * speaker + digit, "WAV", 8_000))


def write_trec(root: Path) -> None:
    for split, count in (("train", 30), ("test", 6)):
        rows = [(f"What is the {split} question, number {number}?", number % 6, "fine") for number in range(count)]
        write(root, f"{split}.csv", write_rows(("text", "coarse_label", "fine_label"), rows))


def write_imagenet(root: Path) -> None:
    for number in range(6):
        for split in ("train", "val"):
            folder = f"{split}/n0144{number % 3}"
            write(root, f"{folder}/{split}_{number}.JPEG", draw_jpeg(number + 100 * (split == "val")))


def write_laion(root: Path) -> None:
    for shard in range(2):
        members = []
        for number in range(3):
            key = f"{shard:05d}{number:04d}"
            facts = {"key": key, "url": f"https://a.test/{key}.jpg", "caption": f"picture {key}", "status": "success"}
            members += [
                (f"{key}.jpg", draw_jpeg(10 * shard + number)),
                (f"{key}.json", json.dumps(facts).encode()),
                (f"{key}.txt", f"picture {key}".encode()),
            ]
        write(root, f"{shard:05d}.tar", make_tar(members))


@dataclass(frozen=True)
class Layout:
    """What an imitation has to become: samples by split (empty: whatever the hash gives), their number, the items of
    each part over all samples, and the labels."""

    write: Callable[[Path], None]
    samples: int
    parts: dict[str, int]
    splits: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


LAYOUTS = {
    "coco": Layout(write_coco, 6, {"image": 6, "caption": 30}, (4, 2, 0)),
    "flickr30k": Layout(write_flickr30k, 20, {"image": 20, "caption": 20}),
    "flickr8k": Layout(write_flickr8k, 12, {"image": 12, "caption": 60}),
    "librispeech": Layout(write_librispeech, 8, {"audio": 8, "text": 8}, (4, 2, 2)),
    "common_voice": Layout(write_common_voice, 12, {"audio": 12, "text": 12}),
    "esc50": Layout(write_esc50, 12, {"audio": 12}, labels=("dog", "rain")),
    "fsdd": Layout(write_fsdd, 18, {"audio": 18}, (12, 3, 3), ("0", "1", "2")),
    "esc10": Layout(write_esc50, 12, {"audio": 12}, labels=("dog", "rain")),
    "trec": Layout(write_trec, 36, {"text": 36}, (27, 3, 6), ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")),
    "imagenet": Layout(write_imagenet, 12, {"image": 12}, (6, 6, 0), ("n01440", "n01441", "n01442")),
    "laion": Layout(write_laion, 6, {"image": 6, "text": 6}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_imitation_becomes_its_samples(name: str, tmp_path: Path) -> None:
    layout, root = LAYOUTS[name], tmp_path / "set"
    root.mkdir()
    layout.write(root)
    blocks = edit_params(f"examples/{name}.yaml", ingest__root=str(root))
    for source in blocks["ingest"]["sources"]:
        source["path"] = source["path"].replace("inbox", str(root))
    run_stages(blocks, tmp_path, until="align")
    aligned = tmp_path / "data/4_aligned"
    samples = read_table(aligned / "samples", SAMPLES)
    splits = Counter(sample["split"] for sample in samples)
    parts = Counter(row["part"] for row in read_table(aligned / "parts", PARTS))
    assert len(samples) == layout.samples
    assert parts == layout.parts
    assert not layout.splits or tuple(splits[split] for split in ("train", "val", "test")) == layout.splits
    assert tuple(sorted({sample["label"] for sample in samples} - {None})) == layout.labels
    assert (tmp_path / "data" / INGESTED_FOLDER / "items").is_dir()


def test_captions_of_coco_are_one_field(tmp_path: Path) -> None:
    from shardwright import ShardDataset

    root = tmp_path / "set"
    root.mkdir()
    write_coco(root)
    run_stages(edit_params("examples/coco.yaml", ingest__root=str(root)), tmp_path, until="extract")
    data = ShardDataset(tmp_path / "data/5_shards", "val")
    assert data[0]["caption"].shape[0] == 5
    assert int(data[0]["caption_count"]) == 5
    assert data[0]["image"].shape == (224, 224, 3)


def test_images_of_flickr8k_get_captions(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    write_flickr8k(root)
    blocks = edit_params(
        "examples/flickr8k.yaml", ingest__root=str(root), extract__image__height=32, extract__image__width=32,
        extract__text__min_count=1, train__epochs=2, train__width=16, train__task__width=16, train__task__longest=12,
    )  # fmt: skip
    for source in blocks["ingest"]["sources"]:
        source["path"] = source["path"].replace("inbox", str(root))
    outcomes = run_stages(blocks, tmp_path)
    assert "generates caption from image" in outcomes["train"].notes[1]
    metrics = json.loads((tmp_path / "data/7_report/metrics.json").read_text())
    assert metrics["constant_text"].startswith("a ")
    assert metrics["constant_text"].endswith(" .")
    predictions = read_table(tmp_path / "data/7_report/predictions", COLUMNS)
    assert {row["reference"].count("\n") for row in predictions} == {4}
