"""Format the answer of `why` for people: a line for each fact, indented below what it belongs to."""

from collections.abc import Iterator

from pipeline.lineage.facts import (
    CleanFacts,
    DropFacts,
    FileFacts,
    ItemFacts,
    NameList,
    PartFacts,
    PartPlace,
    ResponseFacts,
    SampleFacts,
    SampleLocation,
    WhyAnswer,
)
from pipeline.lineage.stage_tables import STAGE_FOLDERS
from pipeline.tables.contracts import INGESTED_ITEMS, SHARDS_FOLDER

MAX_SHOWN = 200
"""Characters of a name or value that are shown; a file's name may have thousands."""


def explain_answer(answer: WhyAnswer) -> Iterator[str]:
    """Yield the lines of an answer."""
    if answer.matches.count:
        yield f"{answer.matches.count} names match, ask for one of them:"
        yield from (f"  {shorten(name)}" for name in answer.matches.names)
        if left := answer.matches.count - len(answer.matches.names):
            yield f"  and {left:,} more"
    for file in answer.files:
        yield from explain_file(file)
    for sample in answer.samples:
        yield from explain_sample(sample)
    for row in answer.rows:
        yield f"{shorten(answer.query)}: {explain_dropped(row)}"
    if not answer.found:
        yield f"no file, URL, item or sample is named {shorten(answer.query)!r}"
        yield from (f"  did you mean {shorten(name)}" for name in answer.near)
    if answer.dataset and any(isinstance(sample.extract, SampleLocation) for sample in answer.samples):
        yield f"dataset {answer.dataset}"
    for stage, folder in STAGE_FOLDERS.items():
        if stage not in answer.stages:
            yield f"{folder} is missing, so nothing is known of {stage}: run `dvc repro {stage}`"
        elif stage in answer.outdated:
            older = f"{folder} refers to another version of {INGESTED_ITEMS}"
            yield f"{older}, so nothing is known of {stage}: run `dvc repro {stage}`"
    if answer.dataset is None and "extract" in answer.stages:
        yield f"{SHARDS_FOLDER} has no dataset: run `dvc repro extract`"


def explain_file(file: FileFacts) -> Iterator[str]:
    """Yield the lines of a file, or of a URL that gave none, with its items."""
    response = file.response
    yield shorten(response.url if response else file.name or "")
    if response:
        yield from explain_response(response)
    if file.name:
        yield f"  file     {shorten(file.name)}"
    if file.dropped:
        yield f"  ingest   {explain_dropped(file.dropped)}"
    for part in file.left_out:
        yield f"  ingest   {part.count:,} parts left out: {explain_verdict(part)}"
    for item in file.items:
        yield from explain_item(item)
    if left := file.count - len(file.items):
        yield f"  and {left:,} more items"


def explain_response(response: ResponseFacts) -> Iterator[str]:
    """Yield the lines of a URL's response."""
    status = "" if response.status is None else f", status {response.status}"
    verdict = explain_dropped(response.dropped) if response.dropped else "kept"
    served = f", served as {shorten(response.content_type)}" if response.content_type else ""
    yield f"  crawl    {verdict}{status}{served}"
    if response.signal:
        read = f", read {response.signal_read}" if response.signal_read else ""
        yield f"  crawl    refused by {response.signal}: {shorten(response.signal_line or 'no answer')}"
        yield f"  crawl    said at {shorten(response.signal_place or '')}{read}"
    if response.final_url not in (None, response.url):
        yield f"  crawl    redirected to {shorten(response.final_url or '')}"
    if response.page not in (None, response.url):
        yield f"  crawl    found on {shorten(response.page or '')}"


def explain_item(item: ItemFacts) -> Iterator[str]:
    """Yield the lines of an item, from ingest to align."""
    yield f"  item     {shorten(item.name)}"
    yield f"    id     {shorten(item.id)}"
    described = [
        f"{item.modality}, {shorten(item.media_type)}, {item.size:,} bytes",
        item.language and f"language {item.language}",
        item.licence and f"licence {shorten(item.licence)}",
        item.attribution and f"by {shorten(item.attribution)}",
    ]
    yield f"    ingest {', '.join(filter(None, described))}"
    yield f"    sha256 {shorten(item.sha256)}"
    if isinstance(item.clean, DropFacts):
        yield f"    clean  {explain_dropped(item.clean)}"
    elif item.clean is not None:
        yield from explain_cleaned(item.clean)
    if item.align:
        yield f"    align  {explain_dropped(item.align)}"
    for partner in item.partners:
        verdict = f"dropped in {partner.dropped.stage}: {explain_verdict(partner.dropped)}"
        yield f"           {shorten(partner.name)}: {verdict}"
    if item.sample and item.place:
        yield f"    align  in sample {item.sample}, {name_place(item.place)}"


def explain_cleaned(cleaned: CleanFacts) -> Iterator[str]:
    """Yield the lines of clean for an item that it kept."""
    facts = ", ".join(f"{name} {value}" for name, value in cleaned.facts.items())
    change = "bytes rewritten" if cleaned.rewritten else "bytes unchanged"
    yield f"    clean  kept, {change}{f'; {facts}' if facts else ''}"
    if cleaned.rewritten:
        yield f"    clean  sha256 of the cleaned bytes {cleaned.sha256}"
    if cleaned.flaw:
        yield f"    clean  not as it should be: {cleaned.flaw}"
    if cleaned.redactions:
        yield f"    clean  {cleaned.redactions:,} passages redacted (setting clean.text.redact)"
    for relation, others in (("exact duplicate of", cleaned.same), ("near-duplicate of", cleaned.near)):
        if others.count:
            yield f"    clean  {relation} {join_names(others)}"


def explain_sample(sample: SampleFacts) -> Iterator[str]:
    """Yield the lines of a sample, with its location."""
    yield f"sample {sample.key}"
    if sample.split:
        label = f", label {shorten(sample.label)}" if sample.label is not None else ""
        yield f"  align    split {sample.split}{label}, group {shorten(sample.group or '')}"
    for name, items in sample.parts.items():
        for number, part in enumerate(items, 1):
            place = name_place(PartPlace(name, number, len(items)))
            yield f"  {place:<8} {shorten(part.item)}{explain_span(part)}"
            if part.url:
                yield f"  {'':<8} {shorten(part.url)}"
    if isinstance(sample.extract, DropFacts):
        yield f"  extract  {explain_dropped(sample.extract)}"
    elif sample.extract is None:
        yield "  extract  not in the shards: they are older than the sample, or missing; run `dvc repro extract`"
    else:
        yield from explain_location(sample.extract)


def name_place(place: PartPlace) -> str:
    """Return `caption 2 of 5`; the part's name alone where it has one item."""
    return place.name if place.count == 1 else f"{place.name} {place.number:,} of {place.count:,}"


def explain_span(part: PartFacts) -> str:
    """Return `, 1.5 s to 3 s`; empty for a whole item."""
    if part.start is None and part.end is None:
        return ""
    return f", {part.start or 0:g} s to {'the end' if part.end is None else f'{part.end:g} s'}"


def explain_location(location: SampleLocation) -> Iterator[str]:
    """Yield the lines of a sample's shard and members."""
    shard = f"{SHARDS_FOLDER}/{location.split}/{location.shard}"
    yield f"  extract  {shard}, sample {location.number + 1:,} of {location.samples:,}"
    for member in location.members:
        yield f"    {member.name} at byte {member.offset:,}, {member.size:,} bytes"


def explain_dropped(dropped: DropFacts) -> str:
    """Return `dropped: too_small, pixels of the shorter side: 8 × 8 (setting clean.image.min_side is 16)`."""
    return f"dropped: {explain_verdict(dropped)}"


def explain_verdict(dropped: DropFacts) -> str:
    """Return the reason, what was kept instead, the detail, the value, and the setting or limit that decided."""
    detail = f", {shorten(dropped.detail)}" if dropped.detail else ""
    value = f": {shorten(dropped.value)}" if dropped.value else ""
    named = dropped.kept_key is None or dropped.kept_key in dropped.detail
    kept = "" if named else f" of {shorten(dropped.kept_key or '')}"
    return f"{dropped.reason}{kept}{detail}{value}{explain_limit(dropped.setting, dropped.limit)}"


def explain_limit(setting: str | None, limit: str) -> str:
    """Return ` (setting clean.image.min_side is 16)`, with the value that the stage ran with; empty without both."""
    if setting:
        several = ", " in setting
        value = f" {'are' if several else 'is'} {shorten(limit)}" if limit else ""
        return f" (setting{'s' if several else ''} {setting}{value})"
    return f" (limit {shorten(limit)})" if limit else ""


def join_names(names: NameList) -> str:
    """Return `a, b and 3 more`."""
    left = names.count - len(names.names)
    return ", ".join(map(shorten, names.names)) + (f" and {left:,} more" if left else "")


def shorten(text: str) -> str:
    """Return the text without its middle if it is too long to be shown."""
    half = MAX_SHOWN // 2
    return text if len(text) <= MAX_SHOWN else f"{text[:half]} … {text[-half:]} ({len(text):,} characters)"
