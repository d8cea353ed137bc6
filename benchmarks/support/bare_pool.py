"""The extractors of the pipeline in a bare spawn pool that writes nothing: what all else is a price on top of.

    python -m benchmarks.support.bare_pool COPY [--processes 2]

It goes through the samples that `align` made in COPY, a copy of the checkout, reads the bytes of their items, and
throws the arrays away. Hands `samples` and `seconds` to `benchmarks.support.apart`, imports of the processes included.
"""

import argparse
import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support.apart import write_outcome
from pipeline.config.check_params import check_block, read_params
from pipeline.extract.extractor import read_item
from pipeline.extract.params import ExtractParams
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.tables.blob_store import TarReader
from pipeline.tables.columns import Row
from pipeline.tables.contracts import (
    ALIGNED_PARTS,
    CLEANED,
    CLEANED_ITEMS,
    INGESTED_ITEMS,
    ITEMS,
    PARTS,
)
from pipeline.tables.table_files import read_table

CHUNK = 96
"""Items a task."""


def extract_items(rows: list[Row], data: Path, params: ExtractParams) -> None:
    """Extract the features of some items, given with the `modality` of each."""
    with TarReader(data) as reader:
        for row in rows:
            extract_item(read_item(row, reader), row["modality"], params.features[row["modality"]])


def extract_item(item: MediaItem, name: str, params: Any) -> Any:
    """What the pipeline keeps of an item."""
    modality = MODALITIES[name]
    if modality.learning is not None:
        return modality.learning.parse(item, params)
    return modality.extract(item, params, None)


def limit_threads() -> None:
    """One thread a process for all libraries, as the pipeline has it."""
    import numpy  # noqa: F401 - a pool that is not loaded yet cannot be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    data = options.copy / "data"
    params = check_block(read_params(options.copy / "params.yaml"), "extract", ExtractParams)
    start = time.perf_counter()
    parts = read_table(data / ALIGNED_PARTS, PARTS)
    items = {row["item"]: row for row in read_table(data / CLEANED_ITEMS, CLEANED)}
    ingested = read_table(data / INGESTED_ITEMS, ITEMS)
    rows = [
        ingested[part["item"]]
        | items[part["item"]]
        | {"orientation": items[part["item"]]["orientation"] or 1, "start": part["start"], "end": part["end"]}
        for part in parts
    ]
    extract = partial(extract_items, data=data, params=params)
    tasks = (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
    with multiprocessing.get_context("spawn").Pool(options.processes, limit_threads) as pool:
        for _ in pool.imap_unordered(extract, tasks):
            pass
    count = len({part["sample"] for part in parts})
    write_outcome({"samples": count, "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    main()
