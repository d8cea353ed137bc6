"""Lhotse: recordings in its own tars (Shar), cut, resampled and turned into features on the fly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.media.by_hand import RATE, SPAN
from benchmarks.media.reading import WORKERS, Epoch, Reading, read_members
from benchmarks.media.sets import SHARDS, list_tars


def open_lhotse(reading: Reading) -> Epoch:
    from lhotse import CutSet, Fbank, FbankConfig
    from lhotse.dataset import DynamicCutSampler, IterableDatasetWrapper, OnTheFlyFeatures
    from torch.utils.data import DataLoader, Dataset

    class Features(Dataset[Any]):
        def __init__(self) -> None:
            self._strategy = OnTheFlyFeatures(Fbank(FbankConfig(num_mel_bins=80)))

        def __getitem__(self, cuts: Any) -> Any:
            return self._strategy(cuts)[0]

    cuts = CutSet.from_shar(in_dir=reading.folder, split_for_dataloading=True, shuffle_shards=True, seed=0)
    parts = cuts.truncate(max_duration=SPAN, offset_type="random", preserve_id=True).resample(RATE)
    sampler = DynamicCutSampler(parts, max_cuts=reading.files.batch, shuffle=True)
    batches = IterableDatasetWrapper(Features(), sampler)
    loader = DataLoader(batches, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    return lambda: map(len, loader)


def write(reading: Reading, target: Path) -> None:
    """Write the recordings as Shar."""
    from lhotse import CutSet, Recording

    def make_cuts() -> Iterator[Any]:
        for number, content in enumerate(read_members(list_tars(reading.folder), reading.files.suffix)):
            yield Recording.from_bytes(content, f"{number:08d}").to_cut()

    target.mkdir()
    count = sum(1 for _ in read_members(list_tars(reading.folder), reading.files.suffix))
    shard_size = -(-count // SHARDS)
    CutSet.from_cuts(make_cuts()).to_shar(target, fields={"recording": "flac"}, shard_size=shard_size, num_jobs=1)
