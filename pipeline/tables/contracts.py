"""Define what crosses a stage boundary: the folders under the data folder and the columns of their tables."""

from pipeline.tables.columns import Columns

LISTED_FOLDER = "0_listed"
CRAWLED_FOLDER = "1_crawled"
INGESTED_FOLDER = "2_ingested"
CLEANED_FOLDER = "3_cleaned"
ALIGNED_FOLDER = "4_aligned"
SHARDS_FOLDER = "5_shards"
EXTRACT_FOLDER = "5_extract"  # the record of how the shards were made; no later stage reads it
MODEL_FOLDER = "6_model"
REPORT_FOLDER = "7_report"

JOINS = {"image": False, "audio": False, "text": True, "video": False}
"""The modalities, in the order in which samples list them: whether several items can be joined to one, so that
`Modality.learning` has `join`. `pipeline.modalities.table` has the rest of each."""

MODALITIES = tuple(JOINS)

SPLITS = ("train", "val", "test")

LISTED: Columns = {
    "number": "int64",  # the place of its source among those of the params, from 0
    "source": "string",  # the source's name: `folder`
    "kind": "string",  # how it is read: `folder`, a file; `zip`, …, an archive of files
    "file": "string",  # its path there, escaped; of what is ignored, the pattern
    "size": "int64?",
    "sha256": "hash?",  # null for what is refused, and for an object at a URL
    "version": "string?",  # of an object at a URL: its checksum or time there, empty if the server has none
    "link": "string?",  # the file of the source that it is a link to, if it is one
    "reason": "string?",  # why it is refused; null for a file to read
    "detail": "string",  # these as in a dropped row
    "value": "string",
    "limit": "string",
    "setting": "string",
    "count": "int64",  # 1; of a link to a folder, the files there; of a pattern, how many files and folders it ignored
}
"""`0_listed/files`: a row per file or what is in the place of one, ordered by number, file and reason."""

ANNOTATIONS: Columns = {
    "caption": "string?",
    "label": "string?",
    "group": "string?",
    "split": "string?",
    "licence": "string?",
    "attribution": "string?",
    "language": "string?",
    "sample": "string?",
    "start": "float64?",  # seconds
    "end": "float64?",
}
"""What a row of a list or a table says of a file; a file may have any number of rows."""

CRAWLED: Columns = {
    "url": "string",  # canonical: never the address that a test host resolved to
    "final_url": "string?",  # after redirects
    "page": "string?",  # the page that embeds or links it; for a row of a URL list, the row's own URL
    "depth": "int64",  # links from a start page; 0 for start pages and lists
    "status": "int64?",  # HTTP status of the last answer
    "reason": "string?",  # null where the response was kept
    "detail": "string",
    "signal": "string?",  # which of the owner's signals refused it: one of docs/crawling.md; null where none did
    "signal_line": "string?",  # the line, header, element or field that did, as it is spelled there
    "signal_place": "string?",  # where that is: the URL of robots.txt and the line's number, the name of a header, …
    "signal_read": "string?",  # the day it was read, UTC: `2026-01-31`; null for a host that a function serves
    "content_type": "string?",  # as the server declares it; nothing relies on it
    "sha256": "hash?",
    "tar": "string?",
    "offset": "int64?",
    "size": "int64?",
}
"""`1_crawled/crawl`: a row per URL tried, ordered by `url`."""

LIST_ROWS: Columns = {
    "url": "string",  # canonical
    "list": "string",  # the file of the URL list
    "line": "int64",
    **ANNOTATIONS,
}
"""`1_crawled/list_rows`: a row per usable row of a URL list that says something of its URL, in their order."""

ITEMS: Columns = {
    "id": "hash",  # sha256 of (sha256 of the bytes, source, file, part)
    "source": "string",  # `folder`, or the host that it was crawled from
    "file": "string",  # path inside the source with forward slashes: the path of the URL, or below ingest.root
    "part": "string",  # which part of the file: "" the whole, else a language or the name of a page's element
    "modality": "string",
    "media_type": "string",  # found from the bytes
    "url": "string?",
    "page": "string?",
    "pages": "int64?",  # how many of the crawled pages show it; of images
    "all_pages": "int64?",  # how many pages were crawled; of images that one of them shows
    "about": "string?",  # URL of the image whose caption it is; of captions on pages
    "label": "string?",  # from a list's or table's column
    "page_label": "string?",  # from the page
    "sample": "string?",  # from a table: which items belong together
    "start": "float64?",  # seconds, from a table: the span of the item that the sample uses
    "end": "float64?",
    "group": "string?",  # from a list's or table's column: items that must not cross splits
    "split": "string?",  # from a list's or table's column
    "language": "string?",
    "licence": "string?",
    "attribution": "string?",
    "sha256": "hash",
    "tar": "string",
    "offset": "int64",
    "size": "int64",
}
"""`2_ingested/items`: a row per item, ordered by `id`. Later tables name an item by the number of its row here."""

CLEANED: Columns = {
    "item": "uint64",  # its row in `2_ingested/items`
    "sha256": "hash",  # of the cleaned bytes, and where they are: as ingested, unless they changed
    "tar": "string",
    "offset": "int64",
    "size": "int64",
    "width": "int64?",  # pixels, as stored: before orientation is applied
    "height": "int64?",
    "orientation": "int64?",  # 1 to 8 as in EXIF; extract applies it, once
    "channels": "int64?",
    "sample_rate": "int64?",  # Hz
    "frames": "int64?",  # audio samples per channel; of a video, images
    "characters": "int64?",
    "missing_frames": "int64?",  # of audio that is cut off and kept: frames that its container declares and lacks
    "redactions": "int64",
    "flaw": "string?",  # what is odd or damaged in a file that was kept
    "exact_cluster": "uint64",  # the first item of this modality with the same cleaned bytes
    "near_cluster": "uint64",  # the first item that looks, sounds or reads the same
}
"""`3_cleaned/items`: the items that can be decoded, ordered by `item`, which is the order of their ids."""

CHECKED_COLUMNS = (
    "width",
    "height",
    "orientation",
    "channels",
    "sample_rate",
    "frames",
    "characters",
    "missing_frames",
)
"""The columns of `CLEANED` that the check of a modality fills; those of other modalities are null."""

SAMPLES: Columns = {
    "key": "string",
    "split": "string",
    "label": "string?",
    "group": "string",  # samples of one group are in one split
}
"""`4_aligned/samples`: a row per sample, ordered by split and sha256 of the key: the order of the shards."""

PARTS: Columns = {
    "sample": "uint64",  # its row in `4_aligned/samples`
    "part": "string",  # the part's name: that of its modality, unless `align.parts` gives it another
    "position": "int64",  # 0, or the place among several items of the part
    "item": "uint64",  # its row in `2_ingested/items`
    "start": "float64?",  # seconds: the span of the item that the sample uses; null: from its start
    "end": "float64?",
}
"""`4_aligned/parts`: the items of each sample, ordered by sample, part (in the order of the params) and position."""

PART_KINDS: Columns = {
    "part": "string",
    "modality": "string",
    "most": "int64?",  # of items in a sample, where it may have several; null: it has one
    "joiner": "string?",  # what stands between several items that are joined to one; null: they are not
}
"""`4_aligned/part_kinds`: a row per part of `align.parts` or `align.modalities`, in their order."""

FOLDS: Columns = {
    "fold": "int64",
    "name": "string?",  # the group's, or `fold 3` of folds that the data gives; null for a number of folds
    "samples": "int64",
    "groups": "int64",
}
"""`4_aligned/folds`: a row per fold, in their order; only with `align.folds`."""

DROPPED: Columns = {
    "stage": "string",
    "unit": "string",
    "key": "string",
    "reason": "string",
    "detail": "string",
    "value": "string",
    "limit": "string",
    "count": "int64",
    "setting": "string",
    "kept_key": "string",
}
"""The table `dropped` of every stage, ordered by unit, key and reason. `unit` is what the stage counts (url, file,
item, sample), or `part`; `setting` the full key in `params.yaml` that decided, several joined by ", ", or empty;
`kept_key` the key of what was kept in its place, or empty."""

REDACTED: Columns = {
    "place": "string",  # where: `text`, the items; else the column of `2_ingested/items`
    "kind": "string",  # of personal data, see `pipeline.privacy.kinds`
    "rows": "int64",  # items that had some
    "passages": "int64",
}
"""The table `redacted` of ingest and clean: how much personal data was replaced, ordered by place and kind."""

REDACTED_TABLES = (f"{INGESTED_FOLDER}/redacted", f"{CLEANED_FOLDER}/redacted")

PRIVATE_FOLDERS = (LISTED_FOLDER, CRAWLED_FOLDER, INGESTED_FOLDER, CLEANED_FOLDER, ALIGNED_FOLDER, EXTRACT_FOLDER)
"""Only the user may open these: they have data as they came in, or names of them."""

DROPPED_TABLES = {
    "crawl": f"{CRAWLED_FOLDER}/dropped",
    "ingest": f"{INGESTED_FOLDER}/dropped",
    "clean": f"{CLEANED_FOLDER}/dropped",
    "align": f"{ALIGNED_FOLDER}/dropped",
    "extract": f"{EXTRACT_FOLDER}/dropped",
}
"""Where each stage that drops something says so."""

LISTED_FILES = f"{LISTED_FOLDER}/files"
INGESTED_ITEMS = f"{INGESTED_FOLDER}/items"
CLEANED_ITEMS = f"{CLEANED_FOLDER}/items"
ALIGNED_SAMPLES = f"{ALIGNED_FOLDER}/samples"
ALIGNED_PARTS = f"{ALIGNED_FOLDER}/parts"
ALIGNED_PART_KINDS = f"{ALIGNED_FOLDER}/part_kinds"
ALIGNED_FOLDS = f"{ALIGNED_FOLDER}/folds"

TABLES: dict[str, Columns] = {
    "list": LISTED,
    "crawl": CRAWLED,
    "list_rows": LIST_ROWS,
    "ingest": ITEMS,
    "clean": CLEANED,
    "align": SAMPLES,
    "parts": PARTS,
    "part_kinds": PART_KINDS,
    "folds": FOLDS,
    "dropped": DROPPED,
    "redacted": REDACTED,
}
