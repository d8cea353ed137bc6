"""What a file holds, from its bytes: one picture, sound or video, or texts. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.media_type import MODALITIES_BY_TYPE, UNKNOWN, UNKNOWN_TEXT, find_media_type
from pipeline.ingest.params import IngestParams
from pipeline.ingest.read_page import PageFacts, read_page
from pipeline.ingest.source_file import SourceFile
from pipeline.ingest.split_text import LeftOut, TextPart, TextParts, select_parts, split_text
from pipeline.tables.drops import Reason, Rejection

_MEDIA_ENDINGS = {
    **dict.fromkeys(("jpg", "jpeg", "jpe", "png", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic"), "image"),
    **dict.fromkeys(("wav", "ogg", "oga", "opus", "flac", "mp3", "m4a", "aac", "aif", "aiff"), "audio"),
    **dict.fromkeys(("mp4", "webm", "mkv", "mov", "avi", "ogv"), "video"),
}
"""What a name promises. It decides nothing but whether a text in place of it is a mistake."""

CAPTION = "caption"
"""The part of a text that a list or table gives beside the file."""


@dataclass(frozen=True, slots=True)
class Content:
    """One item's bytes, before it has an identity; `whole` if they are those of the file."""

    part: str
    modality: str
    media_type: str
    data: bytes
    language: str | None = None
    whole: bool = False


@dataclass(frozen=True)
class Contents:
    """The items of a file, the texts left out of it, counted, and what it says if it is a page."""

    items: Sequence[Content]
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    page: PageFacts | None = None


def read_contents(data: bytes, incoming: SourceFile, params: IngestParams) -> Contents | Rejection:
    """The items that a file gives, or why it gives none."""
    if not data:
        return Rejection(Reason.EMPTY, "a file without bytes")
    media_type = find_media_type(data)
    promised = _find_promise(incoming)
    if promised and media_type.startswith("text/"):
        return Rejection(Reason.TYPE_MISMATCH, f"a text where {promised} is promised", media_type, promised)
    modality = MODALITIES_BY_TYPE.get(media_type)
    if modality is None:
        return _reject_type(media_type)
    try:
        page = read_page(data, params) if media_type == "text/html" else None
    except FormatFault as fault:
        return Rejection(Reason.UNREADABLE, str(fault))
    parts = _read_caption(incoming, params)
    if modality == "text":
        parts = parts.merge(_read_page_text(page, params) if page else _split(data, incoming, params))
    items = [_build_text(part) for part in parts.kept]
    if modality != "text":
        items.append(Content("", modality, media_type, data, incoming.said.language, whole=True))
    return Contents(items, parts.left_out, page) if items else _reject_empty(parts, page, params)


def _find_promise(incoming: SourceFile) -> str | None:
    """image, audio or video, where the name or the server says so."""
    ending = PurePosixPath(incoming.file.partition("?")[0]).suffix[1:].lower()
    served = (incoming.content_type or "").strip().lower().partition("/")[0]
    return served if served in ("image", "audio", "video") else _MEDIA_ENDINGS.get(ending)


def _reject_type(media_type: str) -> Rejection:
    if media_type == UNKNOWN_TEXT:
        return Rejection(Reason.NOT_UTF8, "a text in another encoding than UTF-8")
    detail = "of no type that is known" if media_type == UNKNOWN else f"{media_type} is not supported"
    return Rejection(Reason.UNSUPPORTED_TYPE, detail, media_type)


def _split(data: bytes, incoming: SourceFile, params: IngestParams) -> TextParts:
    return split_text(data.decode(), params, incoming.said.language)


def _read_page_text(page: PageFacts, params: IngestParams) -> TextParts:
    if page.text is None or params.page_text is None:
        return TextParts(())
    part = TextPart(params.page_text, page.text, page.language or params.default_language)
    return select_parts(iter([part]), params)


def _read_caption(incoming: SourceFile, params: IngestParams) -> TextParts:
    said = incoming.said
    if said.caption is None:
        return TextParts(())
    return select_parts(
        iter([TextPart(CAPTION, said.caption.strip(), said.language or params.default_language)]), params
    )


def _build_text(part: TextPart) -> Content:
    return Content(part.name, "text", "text/plain", part.text.encode(), part.language)


def _reject_empty(parts: TextParts, page: PageFacts | None, params: IngestParams) -> Rejection:
    """Why a text or a page gives no item."""
    if parts.left_out:
        (reason, detail), _ = min(parts.left_out.items())
        return Rejection(reason, f"no text is left: {detail}")
    if page is None:
        return Rejection(Reason.EMPTY, "a text without characters")
    if params.page_text is None:
        return Rejection(Reason.NO_ITEMS, "a page, and ingest.page_text is null")
    return Rejection(Reason.NO_ITEMS, "a page without what ingest.page_text selects", limit=params.page_text)
