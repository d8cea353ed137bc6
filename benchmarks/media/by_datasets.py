"""HF datasets: its builder for WebDataset, streamed, and a function of our own that decodes and stacks.

What a function in `map` returns is converted to Arrow, which takes longer.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.media.by_hand import plan_work
from benchmarks.media.reading import BUFFERED, WORKERS, Epoch, Reading
from benchmarks.media.sets import list_tars


def open_datasets(reading: Reading, function: str | None = None) -> Epoch:
    os.environ["HF_HOME"] = str(reading.folder.parent / "hf-cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from torch.utils.data import DataLoader

    work, suffix = plan_work(reading, function), reading.files.suffix

    def collate(samples: Sequence[Mapping[str, Any]]) -> Any:
        files = (sample[suffix] for sample in samples)
        return work.collate([work.decode(file["bytes"] if isinstance(file, Mapping) else file) for file in files])

    found = datasets.load_dataset(
        "webdataset", data_files={"train": list_tars(reading.folder)}, split="train", streaming=True
    )
    data = found.decode(False).shuffle(seed=0, buffer_size=BUFFERED)
    loader = DataLoader(data, reading.files.batch, num_workers=WORKERS, collate_fn=collate, persistent_workers=True)
    return lambda: map(len, loader)
