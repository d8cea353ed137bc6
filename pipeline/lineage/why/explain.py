"""What `why` says of an answer, for people: a line a fact, further in what is a part of something."""

from collections.abc import Iterator

from pipeline.lineage.facts import (
    CleanFacts,
    DropFacts,
    FileFacts,
    ItemFacts,
    NameList,
    PartFacts,
    ResponseFacts,
    SampleFacts,
    SampleLocation,
    WhyAnswer,
)
from pipeline.lineage.stage_tables import PLACES
from pipeline.tables.contracts import SHARDS_FOLDER

MAX_SHOWN = 200
"""Characters of a name or value that are shown; a file's name may have thousands."""


def explain_answer(answer: WhyAnswer) -> Iterator[str]:
    """The lines."""
    if answer.matches.count:
        yield f"{answer.matches.count} things are called so, ask for one of them:"
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
        yield f"nothing is called {shorten(answer.query)!r}"
        yield from (f"  did you mean {shorten(name)}" for name in answer.near)
    if answer.dataset and any(isinstance(sample.extract, SampleLocation) for sample in answer.samples):
        yield f"dataset {answer.dataset}"
    for stage, (folder, _) in PLACES.items():
        if stage not in answer.stages:
            yield f"{folder} is not there, so nothing is known of {stage}: `dvc repro {stage}` makes it"
    if answer.dataset is None and "extract" in answer.stages:
        yield f"{SHARDS_FOLDER} has no dataset: `dvc repro extract` makes it"


def explain_file(file: FileFacts) -> Iterator[str]:
    """A file, or a URL that gave none, with its items."""
    response = file.response
    yield shorten(response.url if response else file.name or "")
    if response:
        yield from explain_response(response)
    if file.name:
        yield f"  file     {shorten(file.name)}"
    if file.dropped:
        yield f"  ingest   {explain_dropped(file.dropped)}"
    for part in file.left_out:
        yield f"  ingest   parts left out: {part.count:,}, {explain_verdict(part)}"
    for item in file.items:
        yield from explain_item(item)
    if left := file.count - len(file.items):
        yield f"  and {left:,} more items"


def explain_response(response: ResponseFacts) -> Iterator[str]:
    """What the crawl met at a URL."""
    status = "" if response.status is None else f", status {response.status}"
    verdict = explain_dropped(response.dropped) if response.dropped else "kept"
    served = f", served as {shorten(response.content_type)}" if response.content_type else ""
    yield f"  crawl    {verdict}{status}{served}"
    if response.final_url not in (None, response.url):
        yield f"  crawl    redirected to {shorten(response.final_url or '')}"
    if response.page not in (None, response.url):
        yield f"  crawl    found on {shorten(response.page or '')}"


def explain_item(item: ItemFacts) -> Iterator[str]:
    """An item, from ingest to align."""
    yield f"  item     {shorten(item.name)}"
    yield f"    id     {shorten(item.id)}"
    said = [f"{shorten(item.media_type)}, {item.size:,} bytes", item.language and f"language {item.language}"]
    said += [
        item.licence and f"licence {shorten(item.licence)}",
        item.attribution and f"by {shorten(item.attribution)}",
    ]
    yield f"    ingest {', '.join(filter(None, said))}"
    yield f"    sha256 {shorten(item.sha256)}"
    if isinstance(item.clean, DropFacts):
        yield f"    clean  {explain_dropped(item.clean)}"
    elif item.clean is not None:
        yield from explain_cleaned(item.clean)
    if item.align:
        yield f"    align  {explain_dropped(item.align)}"
    for partner in item.partners:
        yield f"           {shorten(partner.name)}: {partner.dropped.stage} {explain_dropped(partner.dropped)}"
    if item.sample:
        yield f"    align  in sample {item.sample}"


def explain_cleaned(cleaned: CleanFacts) -> Iterator[str]:
    """What clean found of an item that it kept."""
    facts = ", ".join(f"{name} {value}" for name, value in cleaned.facts.items())
    yield f"    clean  kept, {'rewritten' if cleaned.rewritten else 'as it came'}{f'; {facts}' if facts else ''}"
    if cleaned.rewritten:
        yield f"    clean  now sha256 {cleaned.sha256}"
    if cleaned.redactions:
        yield f"    clean  passages redacted: {cleaned.redactions:,} (clean.text.redact)"
    for words, others in (("the same bytes as", cleaned.same), ("near to", cleaned.near)):
        if others.count:
            yield f"    clean  {words} {explain_several(others)}"


def explain_sample(sample: SampleFacts) -> Iterator[str]:
    """A sample, with where it is."""
    yield f"sample {sample.key}"
    if sample.split:
        label = f", label {shorten(sample.label)}" if sample.label is not None else ""
        yield f"  align    split {sample.split}{label}, group {shorten(sample.group or '')}"
    for name, part in sample.parts.items():
        yield f"  {name:<8} {shorten(part.item)}{explain_span(part)}"
        if part.url:
            yield f"  {'':<8} {shorten(part.url)}"
    if isinstance(sample.extract, DropFacts):
        yield f"  extract  {explain_dropped(sample.extract)}"
    elif sample.extract is None:
        yield "  extract  nothing: the shards were made before it, or are not there; run `dvc repro extract`"
    else:
        yield from explain_place(sample.extract)


def explain_span(part: PartFacts) -> str:
    """`, 1.5 to 3 s`; nothing for a whole."""
    if part.start is None and part.end is None:
        return ""
    return f", {part.start or 0:g} s to {'the end' if part.end is None else f'{part.end:g} s'}"


def explain_place(place: SampleLocation) -> Iterator[str]:
    """The shard and the members."""
    yield f"  extract  {SHARDS_FOLDER}/{place.split}/{place.shard}, sample {place.number + 1:,} of {place.samples:,}"
    for member in place.members:
        yield f"    {member.name} at byte {member.offset:,}, {member.size:,} bytes"


def explain_dropped(dropped: DropFacts) -> str:
    """`dropped: too_small, pixels of the shorter side: 8 × 8 (clean.image.min_side: 16)`."""
    return f"dropped: {explain_verdict(dropped)}"


def explain_verdict(dropped: DropFacts) -> str:
    """The reason, the detail, the value, and the setting or limit that decided."""
    detail = f", {shorten(dropped.detail)}" if dropped.detail else ""
    value = f": {shorten(dropped.value)}" if dropped.value else ""
    return f"{dropped.reason}{detail}{value}{explain_limit(dropped.setting, dropped.limit)}"


def explain_limit(setting: str | None, limit: str) -> str:
    """` (clean.image.min_side: 16)`, the setting as the stage had it; nothing where neither is known."""
    if setting:
        return f" ({setting}{f': {shorten(limit)}' if limit else ''})"
    return f" (limit {shorten(limit)})" if limit else ""


def explain_several(several: NameList) -> str:
    """`a, b and 3 more`."""
    left = several.count - len(several.names)
    return ", ".join(map(shorten, several.names)) + (f" and {left:,} more" if left else "")


def shorten(text: str) -> str:
    """The text without its middle, if it is too long to be shown."""
    half = MAX_SHOWN // 2
    return text if len(text) <= MAX_SHOWN else f"{text[:half]} … {text[-half:]} ({len(text):,} characters)"
