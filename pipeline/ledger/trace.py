"""Follows things through the stages: forwards from a file to its samples, backwards from a sample to its files."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipeline.contracts import CLEANED, ITEMS, MODALITIES
from pipeline.item_name import name_file, name_item
from pipeline.ledger.facts import Answer, Cleaned, Dropped, File, Item, Part, Place, Response, Sample, Several
from pipeline.ledger.ledgers import Ledgers, make_dropped
from pipeline.ledger.match import Root, find_roots
from pipeline.ledger.near import NearNames
from pipeline.ledger.partners import find_lost_partners
from pipeline.ledger.place import find_place, read_dataset
from pipeline.ledger.query import Query
from pipeline.ledger.scan import match_all, match_any
from pipeline.records import Reason
from pipeline.tables import Row
from shardwright.manifest import Manifest

FACTS = [name for name in CLEANED if name not in ITEMS and name not in ("redactions", "exact_cluster", "near_cluster")]

TWIN = re.compile(r"(?:the same bytes as|near to) ([A-Za-z0-9_-]{1,64}), which is kept")
"""How align names the sample that is kept in place of a duplicate."""


@dataclass(frozen=True)
class Tracer:
    """Follows things through the ledgers; `most` is how many of anything are told, the rest is counted."""

    ledgers: Ledgers
    manifest: Manifest | None
    most: int

    def answer(self, query: Query) -> Answer:
        """All that is known of what the query means, or what it may mean, or what is like it.

        Raises:
            InputError: a table is missing from its folder, or damaged.
            DamageError: the manifest or an index is not what was written.
        """
        roots = find_roots(self.ledgers, query)
        known = Answer(query.text, self.ledgers.stages, self.manifest.hash if self.manifest else None)
        if len(roots) > 1:
            return replace(known, matches=Several([root.name for root in roots[: self.most]], len(roots)))
        if roots and roots[0].key is None:
            return self._follow_files(known, [self._trace_file(roots[0])])
        return self._follow_key(known, query)

    def _follow_key(self, known: Answer, query: Query) -> Answer:
        """Of a sample, or of a row of a URL list, or of nothing."""
        sample = self._trace_sample(query.text)
        if sample is not None:
            found = self.ledgers.find("align", match_any({"key": [sample.key]})).rows
            ids = [row[name] for row in found for name in MODALITIES if row[name] is not None]
            files = [self._trace_file(Root((r["source"], r["file"]), r["url"], r["id"])) for r in self._read_items(ids)]
            return replace(known, files=files, samples=[sample])
        row = self.ledgers.find_drop("crawl", query.text)
        return replace(known, rows=[row]) if row else replace(known, near=self._find_near(query))

    def _follow_files(self, known: Answer, files: Sequence[File]) -> Answer:
        items = [item for file in files for item in file.items]
        keys = dict.fromkeys(key for item in items for key in (item.sample, item.twin) if key is not None)
        samples = [sample for key in keys if (sample := self._trace_sample(key)) is not None]
        return replace(known, files=files, samples=samples)

    def _trace_file(self, root: Root) -> File:
        """A file with its items, or a URL that gave none."""
        response = self._trace_url(root.url) if root.url else None
        if root.file is None:
            return File(None, response, self.ledgers.find_drop("ingest", root.url or ""), [], [], 0)
        name = name_file(*root.file)
        drops = [make_dropped(row) for row in self._read_dropped(name) if row["unit"] != "part"]
        parts = [make_dropped(row) for row in self._read_dropped(name) if row["unit"] == "part"]
        wanted = {"id": root.item} if root.item else {"source": root.file[0], "file": root.file[1]}
        hits = self.ledgers.find("ingest", match_all(wanted), self.most)
        return File(name, response, drops[0] if drops else None, parts, self._trace_items(hits.rows), hits.count)

    def _read_dropped(self, name: str) -> Sequence[Row]:
        return self.ledgers.find_dropped("ingest", match_any({"key": [name]}), self.most).rows

    def _trace_url(self, url: str) -> Response | None:
        for row in self.ledgers.find("crawl", match_any({"url": [url]})).rows:
            dropped = self.ledgers.find_drop("crawl", url) if row["reason"] else None
            return Response(url, row["final_url"], row["status"], row["content_type"], row["page"], dropped)
        return None

    def _trace_items(self, rows: Sequence[Row]) -> list[Item]:
        """What became of ingested items."""
        ids, names = [row["id"] for row in rows], [name_item(row) for row in rows]
        cleaned = {row["id"]: row for row in self.ledgers.find("clean", match_any({"id": ids})).rows}
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
        self, row: Row, cleaned: Row | None, drops: dict[tuple[str, str], Dropped], sample: str | None
    ) -> Item:
        name = name_item(row)
        align = drops.get(("align", name))
        return Item(
            name=name,
            **{column: row[column] for column in ITEM_COLUMNS},
            clean=self._describe_cleaned(row, cleaned) if cleaned else drops.get(("clean", name)),
            align=align,
            partners=find_lost_partners(self.ledgers, row, align),
            sample=sample,
            twin=_find_twin(align),
        )

    def _describe_cleaned(self, row: Row, cleaned: Row) -> Cleaned:
        cluster = {"near_cluster": [cleaned["near_cluster"]]}
        others = self.ledgers.find("clean", match_any(cluster))
        rows = [other for other in others.rows if other["id"] != row["id"]]
        same = [name_item(other) for other in rows if other["exact_cluster"] == cleaned["exact_cluster"]]
        near = [name_item(other) for other in rows if other["exact_cluster"] != cleaned["exact_cluster"]]
        return Cleaned(
            rewritten=cleaned["sha256"] != row["sha256"],
            sha256=cleaned["sha256"],
            redactions=cleaned["redactions"],
            facts={name: cleaned[name] for name in FACTS if cleaned[name] is not None},
            same=Several(same[: self.most], len(same)),
            near=Several(near[: self.most], max(len(near), others.count - 1 - len(same))),
        )

    def _trace_sample(self, key: str) -> Sample | None:
        """A sample as align made it and extract placed it; None if neither knows it."""
        rows = self.ledgers.find("align", match_any({"key": [key]})).rows
        extract = self._find_end(key)
        if not rows:
            return Sample(key, None, None, None, {}, extract) if extract else None
        (row,) = rows
        ids = {name: row[name] for name in MODALITIES if row[name] is not None}
        items = {item["id"]: item for item in self._read_items(ids.values())}
        parts = {
            name: Part(name_item(items[id_]), items[id_]["url"], row[f"{name}_start"], row[f"{name}_end"])
            for name, id_ in ids.items()
            if id_ in items
        }
        return Sample(key, row["split"], row["label"], row["group"], parts, extract)

    def _find_end(self, key: str) -> Place | Dropped | None:
        dropped = self.ledgers.find_drop("extract", key)
        return dropped or (find_place(self.ledgers.shards, self.manifest, key) if self.manifest else None)

    def _read_items(self, ids: Iterable[str]) -> Sequence[Row]:
        """The rows of these items, as ingest has them, else as clean has them."""
        stage = "ingest" if "ingest" in self.ledgers.stages else "clean"
        return self.ledgers.find(stage, match_any({"id": list(ids)})).rows

    def _find_near(self, query: Query) -> list[str]:
        near = NearNames(query.text)
        for names in self.ledgers.read_names():
            near.look(names)
        return near.rank(self.most)


ITEM_COLUMNS = ("id", "modality", "media_type", "size", "sha256", "language", "licence", "attribution")


def _find_twin(dropped: Dropped | None) -> str | None:
    """The key of the sample that is kept in place of a duplicate."""
    if dropped is None or dropped.reason not in (Reason.DUPLICATE, Reason.NEAR_DUPLICATE):
        return None
    found = TWIN.search(dropped.detail)
    return found[1] if found else None


def open_tracer(ledgers: Ledgers, most: int) -> Tracer:
    """A tracer with the dataset's manifest.

    Raises:
        FormatError, DamageError: the manifest is not what was written.
    """
    return Tracer(ledgers, read_dataset(ledgers.shards), most)
