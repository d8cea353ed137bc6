"""webdataset: a pipeline in worker processes that read whole tars, with a buffer to shuffle in."""

from functools import partial
from typing import Any

from benchmarks.media.by_hand import Work, plan_work
from benchmarks.media.reading import BUFFERED, WORKERS, Epoch, Reading
from benchmarks.media.sets import list_tars


def open_webdataset(reading: Reading, function: str | None = None) -> Epoch:
    import webdataset

    work, files = plan_work(reading, function), reading.files
    samples = webdataset.WebDataset(list_tars(reading.folder), shardshuffle=100, seed=0).shuffle(BUFFERED)
    batches = samples.map(partial(read, work, files.suffix)).batched(files.batch, collation_fn=work.collate)
    loader = webdataset.WebLoader(batches, batch_size=None, num_workers=WORKERS, persistent_workers=True)
    return lambda: map(len, loader)


def read(work: Work, suffix: str, sample: dict[str, bytes]) -> Any:
    return work.decode(sample[suffix])
