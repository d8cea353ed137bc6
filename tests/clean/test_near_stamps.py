"""Copies of real narrations are near their originals. Skipped where the stamps are missing."""

import os
from pathlib import Path

import pytest

from benchmarks.support.recorded_copies import measure_recall
from pipeline.clean.params import CleanParams

ROOT = Path(__file__).parents[2]

STAMPS = Path(os.environ.get("SHARDWRIGHT_STAMPS", ROOT / "../shared/data/stamps"))

pytestmark = pytest.mark.skipif(not STAMPS.is_dir(), reason=f"the stamps are not in {STAMPS} (SHARDWRIGHT_STAMPS)")


def test_most_copies_of_narrations_are_near() -> None:
    recall = measure_recall(sorted(STAMPS.rglob("*.ogg"))[::120], CleanParams().nearness["audio"])
    assert recall["10 dB quieter"] == recall["noise 40 dB below"] == recall["Vorbis of middle quality"] == 1
    assert min(recall[kind] for kind in ("Vorbis of lowest quality", "16 kHz", "8 kHz", "noise 30 dB below")) >= 0.75
