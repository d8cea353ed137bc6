"""Write the cleaned table: the items that were kept, ordered by id, with what the checks found and their clusters."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.pack_index import Array
from pipeline.clean.bit_tables import Bits
from pipeline.clean.equal_rows import find_equal_rows
from pipeline.clean.item_columns import IngestedColumns
from pipeline.clean.near_duplicates import Thumbnails, find_near_clusters, normalize_thumbnails
from pipeline.clean.params import CleanParams, Nearness
from pipeline.clean.run_checks import CheckSummary, name_tar_file
from pipeline.tables.connected_components import Indexes, find_roots, join_components
from pipeline.tables.contracts import CHECKED_COLUMNS, CLEANED, CLEANED_FOLDER, MODALITIES
from pipeline.tables.row_files import BATCH_ROWS, TableWriter, open_row_file

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Clusters:
    """For each item of one modality, ordered by id, the smallest index of its exact and of its near cluster."""

    exact: Indexes
    near: Indexes


def find_clusters(sha256s: NDArray[np.bytes_], bits: Bits, thumbnails: Thumbnails, nearness: Nearness) -> Clusters:
    """Cluster items by sha256 of the cleaned bytes, S32 (n,), and perceptual hashes.

    The hashes are bits, uint64 (n,), and normalized thumbnails, uint8 (n, cells). Exact duplicates are always near.
    (Not so by their perceptual hashes alone: two images of the same bytes may have different EXIF orientations.)
    """
    exact = find_equal_rows(sha256s)
    near = find_near_clusters(bits, thumbnails, nearness.bits, nearness.difference)
    copies = np.flatnonzero(exact != np.arange(len(exact)))
    join_components(near, copies, exact[copies])
    return Clusters(exact, find_roots(near, near))


def write_items(
    path: Path, rows: Path, items: IngestedColumns, findings: CheckSummary, params: CleanParams
) -> list[str]:
    """Write the cleaned table, and return a line of counts for each modality.

    Args:
        path: of the table.
        rows: path of the rows of the ingested items, as the workers read them.
        items: the ingested items.
        findings: the verdicts on them.
        params: with the distances of near-duplicates.
    """
    exact, near = np.zeros(len(items), np.int64), np.zeros(len(items), np.int64)
    notes = []
    kept = np.asarray(findings.rows["kept"])
    for modality in (name for name in MODALITIES if name in findings.thumbnails):
        indexes = np.flatnonzero(kept & (items.kinds == list(items.modalities).index(modality)))
        indexes = indexes[np.argsort(items.ids[indexes])]
        chosen = findings.rows[indexes]
        thumbnails = normalize_thumbnails(findings.thumbnails[modality], indexes)
        clusters = find_clusters(chosen["sha256"], chosen["bits"], thumbnails, params.nearness[modality])
        del thumbnails
        exact[indexes], near[indexes] = indexes[clusters.exact], indexes[clusters.near]
        notes.append(f"{modality}: {_describe(chosen, clusters)}")
    order = np.flatnonzero(kept)
    order = order[np.argsort(items.ids[order])]
    with TableWriter(path, CLEANED) as writer:
        for start in range(0, len(order), BATCH_ROWS):
            part = order[start : start + BATCH_ROWS]
            table = open_row_file(rows).take(part)
            writer.write(
                dict(_build_columns(table, findings.rows[part], findings.tars[part]))
                | {
                    "exact_cluster": _write_ids(items.ids[exact[part]]),
                    "near_cluster": _write_ids(items.ids[near[part]]),
                }
            )
    return notes


def _build_columns(table: "pa.Table", found: Array, tars: NDArray[np.int32]) -> "Iterator[tuple[str, pa.Array]]":
    """Yield the columns of items except their clusters."""
    import pyarrow as pa

    columns = {name: table.column(name).combine_chunks() for name in table.schema.names}
    rewritten = found["rewritten"]
    names = [f"{CLEANED_FOLDER}/{name_tar_file(tar)}" for tar in tars.tolist()]
    columns["sha256"] = _write_ids(found["sha256"])
    columns["tar"] = pa.array(np.where(rewritten, names, columns["tar"].to_pylist()).tolist(), pa.string())
    columns["offset"] = pa.array(np.where(rewritten, found["offset"], columns["offset"].to_numpy()))
    columns["size"] = pa.array(np.where(rewritten, found["size"], columns["size"].to_numpy()))
    for number, name in enumerate(CHECKED_COLUMNS):
        columns[name] = pa.array(found["facts"][:, number], mask=found["facts"][:, number] < 0)
    columns["redactions"] = pa.array(np.ascontiguousarray(found["redactions"]))
    yield from columns.items()


def _write_ids(ids: NDArray[np.bytes_]) -> "pa.Array":
    """Return ids, or hashes, as 64 hex digits."""
    import pyarrow as pa

    digits = np.ascontiguousarray(ids).tobytes().hex()
    return pa.array([digits[start : start + 64] for start in range(0, len(digits), 64)], pa.string())


def _describe(found: Array, clusters: Clusters) -> str:
    """Return `741 kept, 12 rewritten, 3 exact and 31 near duplicates marked, largest near cluster 4`."""
    exact = np.unique(clusters.exact)
    near, sizes = np.unique(clusters.near, return_counts=True)
    redactions = int(found["redactions"].sum())
    return ", ".join(
        [
            f"{len(found)} kept",
            f"{np.count_nonzero(found['rewritten'])} rewritten",
            *([f"{redactions} passages redacted"] if redactions else []),
            f"{len(found) - len(exact)} exact and {len(found) - len(near)} near duplicates marked",
            f"largest near cluster {sizes.max()}",
        ]
    )
