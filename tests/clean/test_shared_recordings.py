"""A recording of which many segments are items is stored once, and each of its samples has the same as before."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.tables.contracts import CLEANED, INGESTED_FOLDER, ITEMS
from pipeline.tables.table_files import read_table
from tests.support.factory_extract import read_all
from tests.support.factory_media import encode_audio
from tests.support.ingesting import write_files
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow

RATE, SEGMENTS = 8000, 40


def write_corpus(root: Path, comment: str) -> Path:
    """A recording of 20 s that rises in pitch, and a Kaldi folder with segments of it."""
    time = np.arange(20 * RATE) / RATE
    audio = (0.5 * np.sin(2 * np.pi * (200 + 50 * time) * time)).astype(np.float32)
    rows = [f"u{n:02d} r1 {n / 2:.1f} {n / 2 + 0.5:.1f}" for n in range(SEGMENTS)]
    files: dict[str, bytes | str] = {
        "talk.wav": encode_audio(audio, RATE, "WAV", comment),
        "data/wav.scp": "r1 talk.wav\n",
        "data/segments": "\n".join(rows),
        "data/text": "\n".join(f"u{n:02d} word{n} and {n * n} more" for n in range(SEGMENTS)),
    }
    return write_files(root, files)


def run(folder: Path, comment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The samples of all splits, and the bytes of the tars of 3_cleaned by name."""
    root = write_corpus(folder / "inbox", comment)
    params = edit_params(
        crawl__start=[], ingest__root=str(root), align__by="file", align__label="none",
        ingest__tables=[{"path": "data/text", "kind": "kaldi"}], ingest__max_dropped=1.0, align__max_group=1.0,
        align__modalities={}, extract__text__min_count=1,
    )  # fmt: skip
    run_stages(params, folder, until="extract")
    data = folder / "data"
    samples = {
        key: sample for split in ("train", "val", "test") for key, sample in read_all(data / "5_shards", split).items()
    }
    return samples, {path.name: path.read_bytes() for path in (data / "3_cleaned").glob("*.tar")}


def test_the_segments_of_a_rewritten_recording_share_its_bytes(tmp_path: Path) -> None:
    samples, tars = run(tmp_path / "dirty", "told by owl@example.org")
    clean, none = run(tmp_path / "clean", "")
    assert len(samples) == len(clean) == SEGMENTS
    assert not none
    recording = (tmp_path / "clean/inbox/talk.wav").stat().st_size
    assert sum(map(len, tars.values())) < 1.1 * recording + 20_000
    items = read_table(tmp_path / "dirty/data" / INGESTED_FOLDER / "items", ITEMS)
    rows = read_table(tmp_path / "dirty/data/3_cleaned/items", CLEANED)
    spoken = [row for row in rows if items[row["item"]]["modality"] == "audio"]
    assert len(spoken) == SEGMENTS
    assert len({(row["tar"], row["offset"], row["size"], row["sha256"]) for row in spoken}) == 1
    assert samples.keys() == clean.keys()
    for key, sample in samples.items():
        assert np.array_equal(sample["mfcc"], clean[key]["mfcc"])
