"""Follows things through the stages: forwards from a file to its samples, backwards from a sample to its files."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pipeline.lineage.facts import (
    CleanFacts,
    DropFacts,
    FileFacts,
    ItemFacts,
    LostPartner,
    NameList,
    PartFacts,
    ResponseFacts,
    SampleFacts,
    SampleLocation,
    WhyAnswer,
)
from pipeline.lineage.scan import ScanResult, match_all, match_any
from pipeline.lineage.stage_tables import StageTables, make_dropped
from pipeline.lineage.why.match import NearNames, QueryMatch, find_roots
from pipeline.lineage.why.query import Query
from pipeline.lineage.why.sample_location import find_place, read_dataset
from pipeline.tables.contracts import CLEANED, ITEMS, MODALITIES
from pipeline.tables.drops import Reason
from pipeline.tables.item_names import name_file, name_item, name_url
from pipeline.tables.parquet import Row
from shardwright.format.manifest import Manifest


def find_lost_partners(ledgers: StageTables, row: Row, align: DropFacts | None) -> list[LostPartner]:
    """What of the ingested item's page, or of its sample in the user's table, was dropped before align saw it.

    Nothing where align did not miss a partner; and where a pattern says what belongs together, only align knows.
    """
    if align is None or align.reason != Reason.MISSING_PARTNER:
        return []
    found = [*_find_responses(ledgers, row), *_find_cleaned(ledgers, row)]
    return sorted(found, key=lambda partner: partner.name)


def _find_responses(ledgers: StageTables, row: Row) -> Iterator[LostPartner]:
    """Of what its page embeds: what the crawl or ingest dropped."""
    if row["page"] is None:
        return
    files = {}
    for response in ledgers.find("crawl", match_any({"page": [row["page"]], "url": [row["page"]]})).rows:
        if response["reason"] is None:
            files[name_file(*name_url(response["url"]))] = response["url"]
        elif dropped := ledgers.find_drop("crawl", response["url"]):
            yield LostPartner(response["url"], dropped)
    for drop in ledgers.find_dropped("ingest", match_any({"key": list(files)})).rows:
        if drop["unit"] != "part":
            yield LostPartner(files[drop["key"]], make_dropped(drop))


def _find_cleaned(ledgers: StageTables, row: Row) -> Iterator[LostPartner]:
    """Of the items of its page or sample: what clean dropped."""
    together = {column: [row[column]] for column in ("page", "sample") if row[column] is not None}
    items = {name_item(item): item for item in _list_others(ledgers, together, row["id"])}
    for drop in ledgers.find_dropped("clean", match_any({"key": list(items)})).rows:
        yield LostPartner(drop["key"], make_dropped(drop, items[drop["key"]]["modality"]))


def _list_others(ledgers: StageTables, together: dict[str, list[str]], item: str) -> Sequence[Row]:
    return [other for other in ledgers.find("ingest", match_any(together)).rows if other["id"] != item]


FACTS = [name for name in CLEANED if name not in ITEMS and name not in ("redactions", "exact_cluster", "near_cluster")]

TWIN = re.compile(r"(?:the same bytes as|near to) ([A-Za-z0-9_-]{1,64}), which is kept")
"""How align names the sample that is kept in place of a duplicate."""


class Tracer:
    """Follows things through the ledgers; `most` is how many of anything are told, the rest is counted."""

    def __init__(self, ledgers: StageTables, manifest: Manifest | None, most: int) -> None:
        self.ledgers = ledgers
        self.manifest = manifest
        self.most = most
        self._items: dict[str, Row] = {}

    def answer(self, query: Query) -> WhyAnswer:
        """All that is known of what the query means, or what it may mean, or what is like it.

        Raises:
            InputError: a table is missing from its folder, or damaged.
            DamageError: the manifest or an index is not what was written.
        """
        roots = find_roots(self.ledgers, query)
        known = WhyAnswer(query.text, self.ledgers.stages, self.manifest.hash if self.manifest else None)
        if len(roots) > 1:
            return replace(known, matches=NameList([root.name for root in roots[: self.most]], len(roots)))
        if roots and roots[0].key is None:
            return self._follow_files(known, self._trace_files(roots))
        return self._follow_key(known, query)

    def _follow_key(self, known: WhyAnswer, query: Query) -> WhyAnswer:
        """Of a sample, or of a row of a URL list, or of nothing."""
        sample = self._trace_sample(query.text)
        if sample is not None:
            found = self.ledgers.find("align", match_any({"key": [sample.key]})).rows
            ids = [row[name] for row in found for name in MODALITIES if row[name] is not None]
            roots = [QueryMatch((row["source"], row["file"]), row["url"], row["id"]) for row in self._read_items(ids)]
            return replace(known, files=self._trace_files(roots), samples=[sample])
        row = self.ledgers.find_drop("crawl", query.text)
        return replace(known, rows=[row]) if row else replace(known, near=self._find_near(query))

    def _follow_files(self, known: WhyAnswer, files: Sequence[FileFacts]) -> WhyAnswer:
        items = [item for file in files for item in file.items]
        keys = dict.fromkeys(key for item in items for key in (item.sample, item.twin) if key is not None)
        samples = [sample for key in keys if (sample := self._trace_sample(key)) is not None]
        return replace(known, files=files, samples=samples)

    def _trace_files(self, roots: Sequence[QueryMatch]) -> list[FileFacts]:
        """Files with their items, and URLs that gave none; each table is looked through once for all."""
        urls = [root.url for root in roots if root.url is not None]
        responses = {
            row["url"]: self._trace_url(row) for row in self.ledgers.find("crawl", match_any({"url": urls})).rows
        }
        hits = [self._find_items(root) for root in roots]
        items = {item.id: item for item in self._trace_items([row for each in hits for row in each.rows])}
        keys = [name_file(*root.file) if root.file else root.url or "" for root in roots]
        drops = self.ledgers.find_dropped("ingest", match_any({"key": keys})).rows
        files = []
        for root, key, found in zip(roots, keys, hits, strict=True):
            mine = [(row["unit"], make_dropped(row)) for row in drops if row["key"] == key]
            dropped = next((drop for unit, drop in mine if unit != "part"), None)
            parts = [drop for unit, drop in mine if unit == "part"]
            response = responses.get(root.url or "")
            own = [items[row["id"]] for row in found.rows]
            files.append(FileFacts(key if root.file else None, response, dropped, parts, own, found.count))
        return files

    def _find_items(self, root: QueryMatch) -> ScanResult:
        """The ingested items of a root."""
        if root.item is not None:
            rows = self._read_items([root.item])
            return ScanResult(rows, len(rows))
        if root.file is None:
            return ScanResult()
        return self.ledgers.find("ingest", match_all({"source": root.file[0], "file": root.file[1]}), self.most)

    def _trace_url(self, row: Row) -> ResponseFacts:
        """What a row of the crawl says."""
        dropped = self.ledgers.find_drop("crawl", row["url"]) if row["reason"] else None
        return ResponseFacts(row["url"], row["final_url"], row["status"], row["content_type"], row["page"], dropped)

    def _trace_items(self, rows: Sequence[Row]) -> list[ItemFacts]:
        """What became of ingested items."""
        ids, names = [row["id"] for row in rows], [name_item(row) for row in rows]
        cleaned = self._trace_cleaned(rows)
        modalities = {name_item(row): row["modality"] for row in rows}
        drops = {
            (stage, row["key"]): make_dropped(row, modalities[row["key"]])
            for stage in ("clean", "align")
            for row in self.ledgers.find_dropped(stage, match_any({"key": names})).rows
        }
        samples = self.ledgers.find("align", match_any(dict.fromkeys(MODALITIES, ids))).rows
        keys = {row[name]: row["key"] for row in samples for name in MODALITIES if row[name] is not None}
        return [self._trace_item(row, cleaned.get(row["id"]), drops, keys.get(row["id"])) for row in rows]

    def _trace_item(
        self, row: Row, cleaned: CleanFacts | None, drops: dict[tuple[str, str], DropFacts], sample: str | None
    ) -> ItemFacts:
        name = name_item(row)
        align = drops.get(("align", name))
        return ItemFacts(
            name=name,
            **{column: row[column] for column in ITEM_COLUMNS},
            clean=cleaned or drops.get(("clean", name)),
            align=align,
            partners=find_lost_partners(self.ledgers, row, align),
            sample=sample,
            twin=_find_twin(align),
        )

    def _trace_cleaned(self, rows: Sequence[Row]) -> dict[str, CleanFacts]:
        """What clean found of those of these items that it kept, by id."""
        known = {row["id"]: row for row in rows}
        cleaned = self.ledgers.find("clean", match_any({"id": list(known)})).rows
        clusters = self.ledgers.find_groups("clean", "near_cluster", {row["near_cluster"] for row in cleaned})
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
            facts={name: cleaned[name] for name in FACTS if cleaned[name] is not None},
            same=NameList(same[: self.most], len(same)),
            near=NameList(near[: self.most], cluster.count - 1 - len(same)),
        )

    def _trace_sample(self, key: str) -> SampleFacts | None:
        """A sample as align made it and extract placed it; None if neither knows it."""
        rows = self.ledgers.find("align", match_any({"key": [key]})).rows
        extract = self._find_end(key)
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

    def _find_end(self, key: str) -> SampleLocation | DropFacts | None:
        dropped = self.ledgers.find_drop("extract", key)
        return dropped or (find_place(self.ledgers.shards, self.manifest, key) if self.manifest else None)

    def _read_items(self, ids: Iterable[str]) -> Sequence[Row]:
        """The rows of these items, as ingest has them, else as clean has them."""
        wanted = list(ids)
        stage = "ingest" if "ingest" in self.ledgers.stages else "clean"
        new = [item for item in wanted if item not in self._items]
        self._items |= {row["id"]: row for row in self.ledgers.find(stage, match_any({"id": new})).rows}
        return [self._items[item] for item in wanted if item in self._items]

    def _find_near(self, query: Query) -> list[str]:
        near = NearNames(query.text)
        for names in self.ledgers.read_names():
            near.look(names)
        return near.rank(self.most)


ITEM_COLUMNS = ("id", "modality", "media_type", "size", "sha256", "language", "licence", "attribution")


def _find_twin(dropped: DropFacts | None) -> str | None:
    """The key of the sample that is kept in place of a duplicate."""
    if dropped is None or dropped.reason not in (Reason.DUPLICATE, Reason.NEAR_DUPLICATE):
        return None
    found = TWIN.search(dropped.detail)
    return found[1] if found else None


def open_tracer(ledgers: StageTables, most: int) -> Tracer:
    """A tracer with the dataset's manifest.

    Raises:
        FormatError, DamageError: the manifest is not what was written.
    """
    return Tracer(ledgers, read_dataset(ledgers.shards), most)
