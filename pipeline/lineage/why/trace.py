"""Follow files, items and samples through the stages, forwards and backwards, and locate samples in the shards."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.lineage.facts import (
    CleanFacts,
    DropFacts,
    FileFacts,
    ItemFacts,
    LostPartner,
    MemberLocation,
    NameList,
    PartFacts,
    ResponseFacts,
    SampleFacts,
    SampleLocation,
    WhyAnswer,
)
from pipeline.lineage.scan import ScanResult, match_all, match_any
from pipeline.lineage.stage_tables import StageTables, build_drop_facts
from pipeline.lineage.why.match import NearNames, QueryMatch, find_matches
from pipeline.lineage.why.query import Query
from pipeline.tables.contracts import CHECKED_COLUMNS, MODALITIES
from pipeline.tables.drops import Reason
from pipeline.tables.item_names import name_file, name_item, name_url
from pipeline.tables.parquet import Row
from shardwright.format.index import Index, iterate_indexes
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import MANIFEST_NAME, Manifest, ShardRecord, read_manifest
from shardwright.storage.sample_offsets import plan_offsets


def find_lost_partners(tables: StageTables, row: Row, align: DropFacts | None) -> list[LostPartner]:
    """Find what was dropped before align of an item's page, or of its sample in the user's table.

    Empty unless align dropped the item for a missing partner; and where a pattern decides what belongs together, since
    only align applies it.
    """
    if align is None or align.reason != Reason.MISSING_PARTNER:
        return []
    found = [*_find_responses(tables, row), *_find_cleaned(tables, row)]
    return sorted(found, key=lambda partner: partner.name)


def _find_responses(tables: StageTables, row: Row) -> Iterator[LostPartner]:
    """Yield what the crawl or ingest dropped of what the item's page embeds."""
    if row["page"] is None:
        return
    files = {}
    for response in tables.find("crawl", match_any({"page": [row["page"]], "url": [row["page"]]})).rows:
        if response["reason"] is None:
            files[name_file(*name_url(response["url"]))] = response["url"]
        elif dropped := tables.find_drop("crawl", response["url"]):
            yield LostPartner(response["url"], dropped)
    for drop in tables.find_dropped("ingest", match_any({"key": list(files)})).rows:
        if drop["unit"] != "part":
            yield LostPartner(files[drop["key"]], build_drop_facts(drop))


def _find_cleaned(tables: StageTables, row: Row) -> Iterator[LostPartner]:
    """Yield what clean dropped of the items of the same page or sample."""
    together = {column: [row[column]] for column in ("page", "sample") if row[column] is not None}
    others = [name_item(other) for other in tables.find("ingest", match_any(together)).rows if other["id"] != row["id"]]
    for drop in tables.find_dropped("clean", match_any({"key": others})).rows:
        yield LostPartner(drop["key"], build_drop_facts(drop))


class Tracer:
    """Answers queries from the stage tables; lists have at most `most` entries, the rest is counted."""

    def __init__(self, tables: StageTables, manifest: Manifest | None, most: int) -> None:
        self.tables = tables
        self.manifest = manifest
        self.most = most
        self._items: dict[str, Row] = {}

    def answer(self, query: Query) -> WhyAnswer:
        """Return all that is known of what the query matches, or its matches if there are several, or similar names.

        Raises:
            InputError: a table is missing from its folder, or damaged.
            DamageError: the manifest or an index is damaged.
        """
        matches = find_matches(self.tables, query)
        answer = WhyAnswer(query.text, self.tables.stages, self.manifest.hash if self.manifest else None)
        if len(matches) > 1:
            return replace(answer, matches=NameList([match.name for match in matches[: self.most]], len(matches)))
        if matches and matches[0].key is None:
            return self._follow_files(answer, self._trace_files(matches))
        return self._follow_key(answer, query)

    def _follow_key(self, answer: WhyAnswer, query: Query) -> WhyAnswer:
        """Follow the key of a sample, or of a row of a URL list; else suggest similar names."""
        sample = self._trace_sample(query.text)
        if sample is not None:
            found = self.tables.find("align", match_any({"key": [sample.key]})).rows
            ids = [row[name] for row in found for name in MODALITIES if row[name] is not None]
            matches = [QueryMatch((row["source"], row["file"]), row["url"], row["id"]) for row in self._read_items(ids)]
            return replace(answer, files=self._trace_files(matches), samples=[sample])
        row = self.tables.find_drop("crawl", query.text)
        return replace(answer, rows=[row]) if row else replace(answer, near=self._find_near(query))

    def _follow_files(self, answer: WhyAnswer, files: Sequence[FileFacts]) -> WhyAnswer:
        items = [item for file in files for item in file.items]
        keys = dict.fromkeys(key for item in items for key in (item.sample, item.kept_sample) if key is not None)
        samples = [sample for key in keys if (sample := self._trace_sample(key)) is not None]
        return replace(answer, files=files, samples=samples)

    def _trace_files(self, matches: Sequence[QueryMatch]) -> list[FileFacts]:
        """Trace files with their items, and URLs that gave none; each table is scanned once for all."""
        urls = [match.url for match in matches if match.url is not None]
        responses = {
            row["url"]: self._trace_url(row) for row in self.tables.find("crawl", match_any({"url": urls})).rows
        }
        hits = [self._find_items(match) for match in matches]
        items = {item.id: item for item in self._trace_items([row for each in hits for row in each.rows])}
        keys = [name_file(*match.file) if match.file else match.url or "" for match in matches]
        drops = self.tables.find_dropped("ingest", match_any({"key": keys})).rows
        files = []
        for match, key, found in zip(matches, keys, hits, strict=True):
            file_drops = [(row["unit"], build_drop_facts(row)) for row in drops if row["key"] == key]
            dropped = next((drop for unit, drop in file_drops if unit != "part"), None)
            parts = [drop for unit, drop in file_drops if unit == "part"]
            response = responses.get(match.url or "")
            traced = [items[row["id"]] for row in found.rows]
            files.append(FileFacts(key if match.file else None, response, dropped, parts, traced, found.count))
        return files

    def _find_items(self, match: QueryMatch) -> ScanResult:
        """Return the ingested items of a match."""
        if match.item is not None:
            rows = self._read_items([match.item])
            return ScanResult(rows, len(rows))
        if match.file is None:
            return ScanResult()
        return self.tables.find("ingest", match_all({"source": match.file[0], "file": match.file[1]}), self.most)

    def _trace_url(self, row: Row) -> ResponseFacts:
        """Return a row of the crawl as facts."""
        dropped = self.tables.find_drop("crawl", row["url"]) if row["reason"] else None
        return ResponseFacts(row["url"], row["final_url"], row["status"], row["content_type"], row["page"], dropped)

    def _trace_items(self, rows: Sequence[Row]) -> list[ItemFacts]:
        """Trace ingested items through clean and align."""
        ids, names = [row["id"] for row in rows], [name_item(row) for row in rows]
        cleaned = self._trace_cleaned(rows)
        drops = {
            (stage, row["key"]): build_drop_facts(row)
            for stage in ("clean", "align")
            for row in self.tables.find_dropped(stage, match_any({"key": names})).rows
        }
        samples = self.tables.find("align", match_any(dict.fromkeys(MODALITIES, ids))).rows
        keys = {row[name]: row["key"] for row in samples for name in MODALITIES if row[name] is not None}
        return [self._trace_item(row, cleaned.get(row["id"]), drops, keys.get(row["id"])) for row in rows]

    def _trace_item(
        self, row: Row, cleaned: CleanFacts | None, drops: dict[tuple[str, str], DropFacts], sample: str | None
    ) -> ItemFacts:
        name = name_item(row)
        align = drops.get(("align", name))
        repeated = align is not None and align.reason in (Reason.DUPLICATE, Reason.NEAR_DUPLICATE)
        return ItemFacts(
            name=name,
            **{column: row[column] for column in ITEM_COLUMNS},
            clean=cleaned or drops.get(("clean", name)),
            align=align,
            partners=find_lost_partners(self.tables, row, align),
            sample=sample,
            kept_sample=align.kept_key if align and repeated else None,
        )

    def _trace_cleaned(self, rows: Sequence[Row]) -> dict[str, CleanFacts]:
        """Return by id the result of clean for those of these items that it kept."""
        known = {row["id"]: row for row in rows}
        cleaned = self.tables.find("clean", match_any({"id": list(known)})).rows
        clusters = self.tables.find_groups("clean", "near_cluster", {row["near_cluster"] for row in cleaned})
        return {
            row["id"]: self._describe_cleaned(known[row["id"]], row, clusters[row["near_cluster"]]) for row in cleaned
        }

    def _describe_cleaned(self, row: Row, cleaned: Row, cluster: ScanResult) -> CleanFacts:
        others = [other for other in cluster.rows if other["id"] != row["id"]]
        same = [name_item(other) for other in others if other["exact_cluster"] == cleaned["exact_cluster"]]
        near = [name_item(other) for other in others if other["exact_cluster"] != cleaned["exact_cluster"]]
        return CleanFacts(
            rewritten=cleaned["sha256"] != row["sha256"],
            sha256=cleaned["sha256"],
            redactions=cleaned["redactions"],
            facts={name: cleaned[name] for name in CHECKED_COLUMNS if cleaned[name] is not None},
            same=NameList(same[: self.most], len(same)),
            near=NameList(near[: self.most], cluster.count - 1 - len(same)),
        )

    def _trace_sample(self, key: str) -> SampleFacts | None:
        """Return a sample as align made it, with its location in the shards; None if neither knows it."""
        rows = self.tables.find("align", match_any({"key": [key]})).rows
        extract = self._find_extracted(key)
        if not rows:
            return SampleFacts(key, None, None, None, {}, extract) if extract else None
        (row,) = rows
        ids = {name: row[name] for name in MODALITIES if row[name] is not None}
        items = {item["id"]: item for item in self._read_items(ids.values())}
        parts = {
            name: PartFacts(name_item(items[id_]), items[id_]["url"], row[f"{name}_start"], row[f"{name}_end"])
            for name, id_ in ids.items()
            if id_ in items
        }
        return SampleFacts(key, row["split"], row["label"], row["group"], parts, extract)

    def _find_extracted(self, key: str) -> SampleLocation | DropFacts | None:
        dropped = self.tables.find_drop("extract", key)
        return dropped or (find_location(self.tables.shards, self.manifest, key) if self.manifest else None)

    def _read_items(self, ids: Iterable[str]) -> Sequence[Row]:
        """Return the rows of these items from ingest, or from clean where ingest's table is missing."""
        requested = list(ids)
        stage = "ingest" if "ingest" in self.tables.stages else "clean"
        new = [item for item in requested if item not in self._items]
        self._items |= {row["id"]: row for row in self.tables.find(stage, match_any({"id": new})).rows}
        return [self._items[item] for item in requested if item in self._items]

    def _find_near(self, query: Query) -> list[str]:
        near = NearNames(query.text)
        for names in self.tables.read_names():
            near.add(names)
        return near.rank(self.most)


ITEM_COLUMNS = ("id", "modality", "media_type", "size", "sha256", "language", "licence", "attribution")


def read_dataset(root: Path) -> Manifest | None:
    """Return the manifest of the dataset in `root`, or None if there is none.

    Raises:
        FormatError, DamageError: it is damaged.
    """
    return read_manifest(root) if (root / MANIFEST_NAME).is_file() else None


def find_location(root: Path, manifest: Manifest, key: str) -> SampleLocation | None:
    """Return where the sample `key` is, or None if the dataset does not have it.

    Raises:
        DamageError: an index is damaged.
    """
    for name, split in manifest.splits.items():
        for shard, index in iterate_indexes(root / name, manifest.fields, split):
            rows = np.flatnonzero(index["key"] == key.encode("ascii", "replace"))
            if len(rows):
                return _locate(manifest, name, shard, index, int(rows[0]))
    return None


def _locate(manifest: Manifest, split: str, shard: ShardRecord, index: Index, row: int) -> SampleLocation:
    """Return the location of the sample at this row of the shard's index."""
    sample_offsets = plan_offsets(manifest.fields, [shard], np.zeros(1, np.int64), index)
    starts, offsets, sizes = sample_offsets.locate(np.array([row]))
    layout, start = plan_layout(manifest.fields, shard.meta_bytes), int(starts[0])
    located = ((int(np.ravel(at)[0]), int(np.ravel(size)[0])) for at, size in zip(offsets, sizes, strict=True))
    *fields, (meta_at, _) = located
    found = [*fields, (meta_at, shard.meta_bytes)]
    members = [
        MemberLocation(suffix, start + at, size) for suffix, (at, size) in zip(layout.suffixes, found, strict=True)
    ]
    return SampleLocation(split, shard.name, row, shard.samples, members)


def open_tracer(tables: StageTables, most: int) -> Tracer:
    """Return a tracer that also reads the dataset's manifest.

    Raises:
        FormatError, DamageError: the manifest is damaged.
    """
    return Tracer(tables, read_dataset(tables.shards), most)
