"""LitData: chunks of its own format, files as bytes in them."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.media.by_hand import plan_work
from benchmarks.media.reading import WORKERS, Epoch, Reading, read_members
from benchmarks.media.sets import list_tars
from benchmarks.support.make_tensors import keep_litdata_in


def open_litdata(reading: Reading, function: str | None = None) -> Epoch:
    keep_litdata_in(reading.folder.parent / "litdata-cache")
    import litdata

    work = plan_work(reading, function)
    data = litdata.StreamingDataset(str(reading.folder), shuffle=True, transform=lambda item: work.decode(item))
    loader: Any = litdata.StreamingDataLoader(
        data,
        batch_size=reading.files.batch,
        num_workers=WORKERS,
        collate_fn=work.collate,
        persistent_workers=True,
    )
    return lambda: map(len, loader)


def write(reading: Reading, target: Path) -> None:
    """Write the files of the tars as chunks."""
    keep_litdata_in(target.parent / "litdata-cache")
    import litdata

    litdata.optimize(
        fn=partial(read, reading.files.suffix),
        inputs=list_tars(reading.folder),
        output_dir=str(target),
        chunk_bytes="32MB",
        num_workers=1,
        verbose=False,
    )


def read(suffix: str, path: str) -> Iterator[bytes]:
    yield from read_members([path], suffix)
