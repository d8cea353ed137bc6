"""What became of the things that an item was to be together with, where its sample lacks one."""

from collections.abc import Iterator, Sequence

from pipeline.item_name import name_file, name_item, name_url
from pipeline.ledger.facts import Dropped, Partner
from pipeline.ledger.ledgers import Ledgers, make_dropped
from pipeline.ledger.scan import match_any
from pipeline.records import Reason
from pipeline.tables import Row


def find_lost_partners(ledgers: Ledgers, row: Row, align: Dropped | None) -> list[Partner]:
    """What of the ingested item's page, or of its sample in the user's table, was dropped before align saw it.

    Nothing where align did not miss a partner; and where a pattern says what belongs together, only align knows.
    """
    if align is None or align.reason != Reason.MISSING_PARTNER:
        return []
    found = [*_find_responses(ledgers, row), *_find_cleaned(ledgers, row)]
    return sorted(found, key=lambda partner: partner.name)


def _find_responses(ledgers: Ledgers, row: Row) -> Iterator[Partner]:
    """Of what its page embeds: what the crawl or ingest dropped."""
    if row["page"] is None:
        return
    files = {}
    for response in ledgers.find("crawl", match_any({"page": [row["page"]], "url": [row["page"]]})).rows:
        if response["reason"] is None:
            files[name_file(*name_url(response["url"]))] = response["url"]
        elif dropped := ledgers.find_drop("crawl", response["url"]):
            yield Partner(response["url"], dropped)
    for drop in ledgers.find_dropped("ingest", match_any({"key": list(files)})).rows:
        if drop["unit"] != "part":
            yield Partner(files[drop["key"]], make_dropped(drop))


def _find_cleaned(ledgers: Ledgers, row: Row) -> Iterator[Partner]:
    """Of the items of its page or sample: what clean dropped."""
    together = {column: [row[column]] for column in ("page", "sample") if row[column] is not None}
    items = {name_item(item): item for item in _list_others(ledgers, together, row["id"])}
    for drop in ledgers.find_dropped("clean", match_any({"key": list(items)})).rows:
        yield Partner(drop["key"], make_dropped(drop, items[drop["key"]]["modality"]))


def _list_others(ledgers: Ledgers, together: dict[str, list[str]], item: str) -> Sequence[Row]:
    return [other for other in ledgers.find("ingest", match_any(together)).rows if other["id"] != item]
