"""The extractors of the pipeline in a bare spawn pool that writes nothing: what all else is a price on top of.

    python -m benchmarks.support.bare_pool COPY [--processes 2]

It goes through the samples that `align` made in COPY, a copy of the checkout, reads the bytes of their items, and
throws the arrays away. Hands `samples` and `seconds` to `benchmarks.support.apart`, imports of the processes included.
"""

import argparse
import multiprocessing
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.support.apart import write_outcome
from pipeline.config.check_params import check_block, read_params
from pipeline.extract.aligned_samples import Tables, read_corpus
from pipeline.extract.params import ExtractParams
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.tables.blob_store import TarReader

CHUNK = 32
"""Samples a task."""


def extract_samples(rows: range, data: Path, tables: Tables, params: ExtractParams) -> int:
    """Extract all features of some samples; gives their number."""
    with TarReader(data) as reader:
        for sample in tables.read_samples(rows):
            for name, part in sample.parts.items():
                item = MediaItem(reader.read(part.location), part.media_type, part.orientation, part.start, part.end)
                extract_item(item, name, params.features[name])
    return len(rows)


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
    with tempfile.TemporaryDirectory() as scratch:
        tables = Tables(Path(scratch) / "tables")
        samples, _ = read_corpus(data, tables)
        extract = partial(extract_samples, data=data, tables=tables, params=params)
        tasks = (range(start, min(start + CHUNK, len(samples))) for start in range(0, len(samples), CHUNK))
        with multiprocessing.get_context("spawn").Pool(options.processes, limit_threads) as pool:
            count = sum(pool.imap_unordered(extract, tasks))
    write_outcome({"samples": count, "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    main()
