"""Follow files, items and samples through the stages, forwards and backwards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.lineage.facts import (
    CleanFacts,
    DropFacts,
    FileFacts,
    ItemFacts,
    LostPartner,
    NameList,
    PartFacts,
    PartPlace,
    ResponseFacts,
    SampleFacts,
    SampleLocation,
    WhyAnswer,
)
from pipeline.lineage.stage_tables import MAX_HITS, Rows, StageTables, build_drop_facts
from pipeline.lineage.why.locate import DatasetKeys
from pipeline.lineage.why.match import NearNames, QueryMatch, find_matches
from pipeline.lineage.why.query import Query
from pipeline.tables.columns import Row
from pipeline.tables.contracts import CHECKED_COLUMNS
from pipeline.tables.dropped_rows import PART
from pipeline.tables.drops import Reason
from pipeline.tables.item_names import name_file, name_item, name_url

ITEM_FACTS = ("id", "modality", "media_type", "size", "sha256", "language", "licence", "attribution")
"""The columns that are facts of an item by the same names."""

RESPONSE_FACTS = (
    *("url", "final_url", "status", "content_type", "page"),
    *("signal", "signal_line", "signal_place", "signal_read"),
)
"""The columns that are facts of a response by the same names."""

CLEAN_FACTS = ("item", "sha256", "redactions", "flaw", "exact_cluster", "near_cluster", *CHECKED_COLUMNS)


def find_lost_partners(tables: StageTables, number: int, row: Row, align: DropFacts | None) -> list[LostPartner]:
    """Find what was dropped before align of an item's page, or of its sample in the user's table.

    Empty unless align dropped the item for a missing partner; and where a pattern decides what belongs together, since
    only align applies it.
    """
    if align is None or align.reason != Reason.MISSING_PARTNER:
        return []
    found = [*_find_responses(tables, row), *_find_cleaned(tables, number, row)]
    return sorted(found, key=lambda partner: partner.name)


def _find_responses(tables: StageTables, row: Row) -> Iterator[LostPartner]:
    """Yield what the crawl or ingest dropped of what the item's page embeds."""
    if row["page"] is None:
        return
    files = {}
    responses: Rows = {}
    for column in ("page", "url"):
        responses |= tables.find_rows("crawl", column, [row["page"]], ["url", "reason"])
    for _, response in sorted(responses.items()):
        if response["reason"] is None:
            files[name_file(*name_url(response["url"]))] = response["url"]
        elif dropped := tables.find_drop("crawl", response["url"]):
            yield LostPartner(response["url"], dropped)
    for drop in tables.find_dropped("ingest", list(files)):
        if drop["unit"] != PART:
            yield LostPartner(files[drop["key"]], build_drop_facts(drop))


def _find_cleaned(tables: StageTables, number: int, row: Row) -> Iterator[LostPartner]:
    """Yield what clean dropped of the items of the same page or sample."""
    others: Rows = {}
    for column in ("page", "sample"):
        if row[column] is not None:
            others |= tables.name_items(tables.find("ingest", column, [row[column]])[:MAX_HITS].tolist())
    for drop in tables.find_dropped("clean", [name_item(other) for at, other in others.items() if at != number]):
        yield LostPartner(drop["key"], build_drop_facts(drop))


@dataclass(frozen=True)
class Tracer:
    """Answers queries from the stage tables and the dataset, if there is one; lists have at most `most` entries, the
    rest is counted."""

    tables: StageTables
    dataset: DatasetKeys | None
    most: int

    def answer(self, query: Query) -> WhyAnswer:
        """Return all that is known of what the query matches, or its matches if there are several, or similar names.

        Raises:
            InputError: a table is missing from its folder, or damaged.
            DamageError: the manifest or an index is damaged.
        """
        matches = find_matches(self.tables, query)
        dataset = self.dataset.manifest.hash if self.dataset else None
        answer = WhyAnswer(query.text, self.tables.stages, self.tables.outdated, dataset)
        if len(matches) > 1:
            return replace(answer, matches=NameList([match.name for match in matches[: self.most]], len(matches)))
        if matches and matches[0].key is None:
            return self._follow_files(answer, self._trace_files(matches))
        return self._follow_key(answer, query)

    def _follow_key(self, answer: WhyAnswer, query: Query) -> WhyAnswer:
        """Follow the key of a sample, or of a row of a URL list; else suggest similar names."""
        sample = self._trace_sample(query.text)
        if sample is not None:
            found = self.tables.find_sample(sample.key)
            parts = self.tables.read_parts(found[0]) if found else {}
            items = [part["item"] for rows in parts.values() for part in rows][: self.most]
            named = self.tables.name_items(items).items()
            matches = [QueryMatch((row["source"], row["file"]), row["url"], number) for number, row in named]
            return replace(answer, files=self._trace_files(matches), samples=[sample])
        row = self.tables.find_drop("crawl", query.text)
        return replace(answer, rows=[row]) if row else replace(answer, near=self._find_near(query))

    def _follow_files(self, answer: WhyAnswer, files: Sequence[FileFacts]) -> WhyAnswer:
        items = [item for file in files for item in file.items]
        keys = dict.fromkeys(key for item in items for key in (item.sample, item.kept_sample) if key is not None)
        samples = [sample for key in keys if (sample := self._trace_sample(key)) is not None]
        return replace(answer, files=files, samples=samples)

    def _trace_files(self, matches: Sequence[QueryMatch]) -> list[FileFacts]:
        """Trace files with their items, and URLs that gave none; each table is searched once for all."""
        urls = [match.url for match in matches if match.url is not None]
        found = self.tables.find_rows("crawl", "url", urls, [*RESPONSE_FACTS, "reason"]).values()
        responses = {row["url"]: self._trace_url(row) for row in found}
        hits = [self._find_items(match) for match in matches]
        items = self._trace_items([number for each in hits for number in each[: self.most]])
        keys = [name_file(*match.file) if match.file else match.url or "" for match in matches]
        drops = self.tables.find_dropped("ingest", keys)
        files = []
        for match, key, numbers in zip(matches, keys, hits, strict=True):
            file_drops = [(row["unit"], build_drop_facts(row)) for row in drops if row["key"] == key]
            dropped = next((drop for unit, drop in file_drops if unit != PART), None)
            parts = [drop for unit, drop in file_drops if unit == PART]
            response = responses.get(match.url or "")
            traced = [items[number] for number in numbers[: self.most]]
            files.append(FileFacts(key if match.file else None, response, dropped, parts, traced, len(numbers)))
        return files

    def _find_items(self, match: QueryMatch) -> Sequence[int]:
        """Return the numbers of the ingested items of a match."""
        if match.item is not None:
            return [match.item]
        return [] if match.file is None else self.tables.find_file(*match.file).tolist()

    def _trace_url(self, row: Row) -> ResponseFacts:
        """Return a row of the crawl as facts."""
        dropped = self.tables.find_drop("crawl", row["url"]) if row["reason"] else None
        return ResponseFacts(**{column: row[column] for column in RESPONSE_FACTS}, dropped=dropped)

    def _trace_items(self, numbers: Sequence[int]) -> dict[int, ItemFacts]:
        """Trace ingested items through clean and align."""
        named = self.tables.name_items(numbers)
        facts = self.tables.select("ingest", numbers, [*ITEM_FACTS, "page", "sample"])
        rows = {number: row | named[number] for number, row in facts.items()}
        cleaned = self._trace_cleaned(rows)
        names = [name_item(row) for row in rows.values()]
        drops = {
            (stage, row["key"]): build_drop_facts(row)
            for stage in ("clean", "align")
            for row in self.tables.find_dropped(stage, names)
        }
        places = self._find_places(rows)
        return {at: self._trace_item(at, row, cleaned.get(at), drops, places.get(at)) for at, row in rows.items()}

    def _trace_item(
        self,
        number: int,
        row: Row,
        cleaned: CleanFacts | None,
        drops: Mapping[tuple[str, str], DropFacts],
        place: tuple[str, PartPlace] | None,
    ) -> ItemFacts:
        name = name_item(row)
        align = drops.get(("align", name))
        repeated = align is not None and align.reason in (Reason.DUPLICATE, Reason.NEAR_DUPLICATE)
        return ItemFacts(
            name=name,
            **{column: row[column] for column in ITEM_FACTS},
            clean=cleaned or drops.get(("clean", name)),
            align=align,
            partners=find_lost_partners(self.tables, number, row, align),
            sample=place[0] if place else None,
            place=place[1] if place else None,
            kept_sample=align.kept_key if align and repeated else None,
        )

    def _find_places(self, items: Rows) -> dict[int, tuple[str, PartPlace]]:
        """Return by item number the key of the sample of each item that is in one, and its place there."""
        return {
            part["item"]: (row["key"], PartPlace(name, number, len(parts)))
            for sample, row in self.tables.read_samples(self.tables.find_samples(items)).items()
            for name, parts in self.tables.read_parts(sample).items()
            for number, part in enumerate(parts, 1)
        }

    def _trace_cleaned(self, items: Rows) -> dict[int, CleanFacts]:
        """Return by number the result of clean for those of these items that it kept."""
        table = self.tables.open("clean")
        rows = self.tables.find_rows("clean", "item", items, CLEAN_FACTS).values()
        if table is None or not rows:
            return {}
        numbers = self.tables.find("clean", "near_cluster", {row["near_cluster"] for row in rows})
        found = table.take(numbers, ["item", "exact_cluster", "near_cluster"])
        others, exact, near = (column.to_numpy() for column in found.columns[:3])
        facts = {}
        for row in rows:
            similar = (near == row["near_cluster"]) & (others != row["item"])
            same = exact == row["exact_cluster"]
            facts[row["item"]] = CleanFacts(
                rewritten=row["sha256"] != items[row["item"]]["sha256"],
                sha256=row["sha256"],
                redactions=row["redactions"],
                flaw=row["flaw"],
                facts={name: row[name] for name in CHECKED_COLUMNS if row[name] is not None},
                same=self._name_items(others[similar & same].tolist()),
                near=self._name_items(others[similar & ~same].tolist()),
            )
        return facts

    def _name_items(self, numbers: Sequence[int]) -> NameList:
        rows = self.tables.name_items(numbers[: self.most])
        return NameList([name_item(row) for row in rows.values()], len(numbers))

    def _trace_sample(self, key: str) -> SampleFacts | None:
        """Return a sample as align made it, with its location in the shards; None if neither knows it."""
        found = self.tables.find_sample(key)
        extract = self._find_extracted(key, found[1]["split"] if found else None)
        if found is None:
            return SampleFacts(key, None, None, None, {}, extract) if extract else None
        number, row = found
        parts = self.tables.read_parts(number)
        items = self.tables.name_items(part["item"] for rows in parts.values() for part in rows)
        named = {name: [_describe_part(part, items[part["item"]]) for part in rows] for name, rows in parts.items()}
        return SampleFacts(key, row["split"], row["label"], row["group"], named, extract)

    def _find_extracted(self, key: str, split: str | None) -> SampleLocation | DropFacts | None:
        dropped = self.tables.find_drop("extract", key)
        return dropped or (self.dataset.locate(key, split) if self.dataset else None)

    def _find_near(self, query: Query) -> list[str]:
        near = NearNames(query.text)
        for names in self.tables.read_names():
            near.add(names)
        return near.rank(self.most)


def _describe_part(part: Row, item: Row) -> PartFacts:
    return PartFacts(name_item(item), item["url"], part["start"], part["end"])


def open_tracer(tables: StageTables, most: int) -> Tracer:
    """Return a tracer that also reads the dataset's manifest.

    Raises:
        FormatError, DamageError: the manifest is damaged.
    """
    return Tracer(tables, DatasetKeys.open(tables.shards), most)
