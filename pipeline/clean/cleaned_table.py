"""Write the cleaned table: the items that were kept, with what the checks found and their clusters."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.bit_tables import Bits
from pipeline.clean.cleaned_tars import TarPlan, name_file
from pipeline.clean.equal_rows import find_equal_rows
from pipeline.clean.findings import Findings
from pipeline.clean.near_duplicates import Thumbnails, find_near_clusters, normalize_thumbnails
from pipeline.clean.params import CleanParams, Nearness
from pipeline.incremental.pack_index import Array
from pipeline.privacy.kinds import KINDS
from pipeline.privacy.redacted_counts import TEXT, RedactedCounts
from pipeline.tables.columns import build_hashes
from pipeline.tables.connected_components import Indexes, find_roots, join_components
from pipeline.tables.contracts import CHECKED_COLUMNS, CLEANED, CLEANED_FOLDER, INGESTED_ITEMS, ITEMS
from pipeline.tables.table_files import TableWriter, identify_table, read_batches

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Clusters:
    """For each item of one modality, in order, the smallest index of its exact and of its near cluster."""

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


def cluster_items(findings: Findings, modality: str, items: Indexes, params: CleanParams) -> Clusters:
    """Return the clusters of these items, which are kept and of one modality, as item numbers."""
    verdicts, nearness = findings.verdicts, params.nearness[modality]
    thumbnails = np.empty((len(items), 0), np.uint8)
    if nearness.difference:
        normalized = findings.map_array("normalized", thumbnails.dtype, (len(items), findings.thumbnails.shape[1]))
        thumbnails = normalize_thumbnails(findings.thumbnails, items, normalized)
    sha256s = verdicts["sha256"][items].view("S32")[:, 0]
    found = find_clusters(sha256s, verdicts["bits"][items], thumbnails, nearness)
    return Clusters(items[found.exact], items[found.near])


def write_items(folder: Path, ingested: Path, findings: Findings, clusters: Clusters, plan: TarPlan) -> None:
    """Write the cleaned table.

    Args:
        folder: of the table.
        ingested: folder of the table of ingested items.
        findings: on all items.
        clusters: of all items, as item numbers.
        plan: of the tars with the bytes that changed.
    """
    import pyarrow as pa

    start, refers = 0, {INGESTED_ITEMS: identify_table(ingested)}
    with TableWriter(folder, CLEANED, refers) as writer:
        for batch in read_batches(ingested, ITEMS, ["sha256", "tar", "offset", "size"]):
            items = start + np.flatnonzero(findings.kept[start : start + batch.num_rows])
            columns = _place_bytes(batch.take(pa.array(items - start)), findings.verdicts[items], items, plan)
            columns |= _describe_items(findings.verdicts[items])
            columns["item"] = pa.array(items.astype(np.uint64))
            columns["exact_cluster"] = pa.array(clusters.exact[items].astype(np.uint64))
            columns["near_cluster"] = pa.array(clusters.near[items].astype(np.uint64))
            writer.write(columns)
            start += batch.num_rows


def _place_bytes(
    ingested: "pa.RecordBatch", verdicts: Array, items: NDArray[np.int64], plan: TarPlan
) -> "dict[str, pa.Array]":
    """Return hash, tar, offset and size of the cleaned bytes of items: as ingested, except those that changed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rewritten = np.ascontiguousarray(verdicts["rewritten"])
    at = plan.places[np.searchsorted(plan.items, items[rewritten])]
    tars, numbers = np.unique(plan.tars[at], return_inverse=True)
    names = pa.array([f"{CLEANED_FOLDER}/{name_file(tar)}" for tar in tars.tolist()], pa.string())
    offsets = ingested.column("offset").to_numpy().copy()
    offsets[rewritten] = plan.offsets[at]
    return {
        "sha256": build_hashes(np.ascontiguousarray(verdicts["sha256"]).view("S32")[:, 0]),
        "tar": pc.replace_with_mask(ingested.column("tar"), pa.array(rewritten), names.take(pa.array(numbers))),
        "offset": pa.array(offsets),
        "size": pa.array(np.ascontiguousarray(verdicts["size"])),
    }


def _describe_items(verdicts: Array) -> "dict[str, pa.Array]":
    import pyarrow as pa

    facts = verdicts["facts"]
    columns = {
        name: pa.array(np.ascontiguousarray(facts[:, number]), mask=facts[:, number] < 0)
        for number, name in enumerate(CHECKED_COLUMNS)
    }
    flaws, numbers = np.unique(verdicts["flaw"], return_inverse=True)
    names = pa.array([flaw.decode() or None for flaw in flaws.tolist()], pa.string())
    return columns | {
        "redactions": pa.array(verdicts["redactions"].sum(axis=1, dtype=np.int64)),
        "flaw": names.take(pa.array(numbers)),
    }


def describe_clusters(findings: Findings, items: Indexes, exact: Indexes, near: Indexes) -> str:
    """Describe these items, which rise, are kept and of one modality:
    `741 kept, 12 rewritten, 3 exact and 31 near duplicates marked, largest near cluster 4; 2 with no last page`."""
    flaws = Counter(findings.verdicts["flaw"][items].tolist())
    sizes = np.bincount(np.searchsorted(items, near))
    redactions = count_redactions(findings, items).describe()
    counts = ", ".join(
        [
            f"{len(items)} kept",
            f"{np.count_nonzero(findings.verdicts['rewritten'][items])} rewritten",
            *([redactions] if redactions else []),
            f"{np.count_nonzero(exact != items)} exact and {np.count_nonzero(near != items)} near duplicates marked",
            f"largest near cluster {sizes.max()}",
        ]
    )
    named = ", ".join(f"{count} with {flaw.decode()}" for flaw, count in sorted(flaws.items()) if flaw)
    return f"{counts}; {named}" if named else counts


def count_redactions(findings: Findings, items: Indexes) -> RedactedCounts:
    """Return by kind in how many of these items passages were redacted, and how many."""
    found = findings.verdicts["redactions"][items]
    having, passages = np.count_nonzero(found, axis=0), found.sum(axis=0, dtype=np.int64)
    counts = zip(KINDS, having.tolist(), passages.tolist(), strict=True)
    return RedactedCounts({(TEXT, kind): (rows, number) for kind, rows, number in counts if number})
