"""MosaicML Streaming: shards of its own format (MDS), files as bytes in them."""

from pathlib import Path
from typing import Any

from benchmarks.media.by_hand import plan_work
from benchmarks.media.reading import WORKERS, Epoch, Reading, read_members
from benchmarks.media.sets import list_tars
from benchmarks.support.torchvision_stand_in import stand_in


def open_mosaicml(reading: Reading, function: str | None = None) -> Epoch:
    stand_in()
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    work, batch = plan_work(reading, function), reading.files.batch

    class Files(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: int) -> Any:
            return work.decode(super().__getitem__(at)["media"])

    data = Files(local=str(reading.folder), shuffle=True, batch_size=batch)
    loader: Any = DataLoader(data, batch, num_workers=WORKERS, collate_fn=work.collate, persistent_workers=True)
    return lambda: map(len, loader)


def write(reading: Reading, target: Path) -> None:
    """Write the files of the tars as MDS."""
    stand_in()
    from streaming import MDSWriter

    with MDSWriter(out=str(target), columns={"media": "bytes"}, size_limit=1 << 25) as writer:
        for content in read_members(list_tars(reading.folder), reading.files.suffix):
            writer.write({"media": content})
