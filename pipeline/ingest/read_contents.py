"""Find the items that a file holds, from its bytes: one image, audio or video, or texts. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import unescape
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from pipeline.consent.embedded.read_file import read_file_statements
from pipeline.consent.statements import find_refusal
from pipeline.formats.encodings import Decoded, decode_text
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image.animated import is_animated
from pipeline.formats.media_type import MODALITIES_BY_TYPE, UNKNOWN, UNKNOWN_TEXT, claims_page, find_media_type
from pipeline.ingest.divide_file import NO_FACTS, GivenFacts, Segment, divide_file
from pipeline.ingest.params import WHOLE_PAGE, IngestParams
from pipeline.ingest.read_figures import number_figures
from pipeline.ingest.read_page import PageFacts, read_page
from pipeline.ingest.sources.source import ListedFile
from pipeline.ingest.split_text import TextPart, TextParts, select_parts, split_text
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import name_part

_MEDIA_ENDINGS = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "png", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic"), "image"),
    **dict.fromkeys(("wav", "ogg", "oga", "opus", "flac", "mp3", "m4a", "aac", "aif", "aiff"), "audio"),
    **dict.fromkeys(("mp4", "webm", "mkv", "mov", "avi", "ogv"), "video"),
}
"""The modality that a file name claims. Used only to tell a text file from a text in the place of media, such as an
error page."""

_NOT_DECODED = Rejection(
    Reason.NOT_UTF8, "a text that is not UTF-8, and no other encoding stands out", setting="default_language"
)

CAPTION = "caption"
"""The name of the parts that are texts which a list or table gives for the file."""


class Content(NamedTuple):
    """One item's bytes, before it has an identity; `whole` if they are those of the file."""

    part: str
    modality: str
    media_type: str
    data: bytes
    language: str | None = None
    whole: bool = False
    facts: GivenFacts = NO_FACTS
    about: str | None = None


class Contents(NamedTuple):
    """The items of a file, or why it has none; the counted texts that were left out; the facts of a page."""

    items: Sequence[Content] = ()
    rejection: Rejection | None = None
    left_out: Mapping[Rejection, int] = MappingProxyType({})
    page: PageFacts | None = None


def read_contents(data: bytes, file: ListedFile, params: IngestParams) -> Contents:
    """Return the items of a file, or why it has none."""
    if not data:
        return Contents(rejection=Rejection(Reason.EMPTY, "the file has no bytes"))
    crawled = file.url is not None and not file.content_type
    page_claimed = claims_page(file.file, file.content_type)
    media_type = find_media_type(data, page=page_claimed, fragment=crawled, content_type=file.content_type)
    if file.url is None and (refused := _find_refusal(data, media_type, params)):
        return Contents(rejection=refused)
    modality = _find_modality(data, media_type, params)
    if modality is not None and modality != "text" and not file.rows:
        return Contents([Content("", modality, media_type, data, whole=True)])
    claimed = _find_claimed_modality(file) if media_type.startswith("text/") else None
    mismatch = Rejection(
        Reason.TYPE_MISMATCH, f"a text, where name or server claim {claimed}", media_type, claimed or ""
    )
    try:
        page = read_page(data, params, file.base, file.content_type) if media_type == "text/html" else None
    except FormatFault as fault:
        return Contents(rejection=mismatch if claimed else Rejection(Reason.UNREADABLE, str(fault)))
    if claimed:
        return Contents(rejection=mismatch, page=page)
    if modality is None:
        return Contents(rejection=_reject_type(media_type))
    found = Content("", modality, media_type, data, whole=True)
    return _find_items(found, page, file, params)._replace(page=page)


def _find_refusal(data: bytes, media_type: str, params: IngestParams) -> Rejection | None:
    """Return why a file may not be used by its own metadata, which clean removes; the crawl has asked its files."""
    statement = find_refusal(read_file_statements(data, media_type), params.consent, image=True)
    if statement is None:
        return None
    uses = ", ".join(params.consent.uses)
    return Rejection(Reason.OPTED_OUT, statement.detail, statement.line, uses, "consent.uses")


def _find_modality(data: bytes, media_type: str, params: IngestParams) -> str | None:
    if media_type == UNKNOWN_TEXT:
        return "text"
    if params.animations == "video" and is_animated(data, media_type):
        return "video"
    return MODALITIES_BY_TYPE.get(media_type)


def _find_items(found: Content, page: PageFacts | None, file: ListedFile, params: IngestParams) -> Contents:
    """Return the items of a file, given as one item."""
    data, modality = found.data, found.modality
    items: list[Content] = []
    left_out: Counter[Rejection] = Counter()
    decoded = Decoded("")
    if modality == "text" and page is None:
        text = decode_text(data, file.content_type, _find_language(file, params))
        if text is None:
            return Contents(rejection=_NOT_DECODED)
        decoded = text
    if decoded.guessed:
        left_out[Rejection(Reason.GUESSED_ENCODING, "the encoding was guessed", decoded.guessed)] += 1
    for segment in divide_file(file.rows):
        parts = _read_captions(segment, params, escaped=file.url is not None)
        if modality == "text":
            parts = parts.merge(
                _read_page_texts(page, params) if page else split_text(decoded.text, params, segment.language)
            )
        else:
            part = name_part("", segment=segment.name)
            items.append(found._replace(part=part, language=segment.language, facts=segment.facts))
        items += _build_texts(parts, segment)
        left_out += parts.left_out + Counter(segment.contradictions)
    if not items:
        return Contents(rejection=_reject_empty(left_out, page, params))
    return Contents(sorted(items, key=lambda item: item.part), left_out=left_out)


def _find_claimed_modality(file: ListedFile) -> str | None:
    """Return image, audio or video if the server, or else the file name, claims it."""
    ending = PurePosixPath(file.file.partition("?")[0]).suffix[1:].lower()
    served = (file.content_type or "").strip().lower().partition("/")[0]
    return served if served in _MEDIA_ENDINGS.values() else _MEDIA_ENDINGS.get(ending)


def _reject_type(media_type: str) -> Rejection:
    detail = "of an unknown type" if media_type == UNKNOWN else f"{media_type} is not supported"
    return Rejection(Reason.UNSUPPORTED_TYPE, detail, media_type)


def _find_language(file: ListedFile, params: IngestParams) -> str:
    """Return the language that the rows of a file say it has."""
    said = (row["language"] for row in file.rows or () if row["language"])
    return next(said, params.default_language)


def _read_page_texts(page: PageFacts, params: IngestParams) -> TextParts:
    parts = []
    language = page.language or params.default_language
    if page.text is not None and params.page_text is not None:
        parts.append(TextPart(params.page_text, page.text, language))
    if params.figures:
        parts += [TextPart(name, one.caption, language, one.image) for name, one in number_figures(page.figures)]
    return select_parts(iter(parts), params)


def _read_captions(segment: Segment, params: IngestParams, escaped: bool) -> TextParts:
    """Return the captions that rows give; those of lists of URLs come from pages, `escaped` as HTML."""
    parts = (
        TextPart(
            name_part(CAPTION, caption.number),
            (unescape(caption.text) if escaped else caption.text).strip(),
            caption.language or params.default_language,
        )
        for caption in segment.captions
    )
    return select_parts(parts, params)


def _build_texts(parts: TextParts, segment: Segment) -> Iterator[Content]:
    facts = {name_part(CAPTION, caption.number): caption.facts for caption in segment.captions}
    for part in parts.kept:
        name = name_part(part.name, segment=segment.name)
        of_part = facts.get(part.name, segment.facts)
        yield Content(name, "text", "text/plain", part.text.encode(), part.language, facts=of_part, about=part.about)


def _reject_empty(left_out: Counter[Rejection], page: PageFacts | None, params: IngestParams) -> Rejection:
    """Return why a text or a page has no item."""
    if left_out:
        first = min(left_out, key=lambda rejection: (rejection.reason, rejection.detail))
        return replace(first, detail=f"no text remains: {first.detail}")
    if page is None:
        return Rejection(Reason.EMPTY, "a text without characters")
    if params.figures:
        return Rejection(Reason.NO_ITEMS, "a page without captions of images", setting="figures")
    if params.page_text is None:
        return Rejection(Reason.NO_ITEMS, "pages give no text", setting="page_text")
    nothing = "no text remains of the page" if params.page_text == WHOLE_PAGE else "nothing on the page matches"
    return Rejection(Reason.NO_ITEMS, nothing, limit=params.page_text, setting="page_text")
