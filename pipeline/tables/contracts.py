"""Define what crosses a stage boundary: the folders under the data folder and the columns of their tables."""

from pipeline.tables.parquet import DROPPED, Columns

CRAWLED_FOLDER = "1_crawled"
INGESTED_FOLDER = "2_ingested"
CLEANED_FOLDER = "3_cleaned"
ALIGNED_FOLDER = "4_aligned"
SHARDS_FOLDER = "5_shards"
EXTRACT_FOLDER = "5_extract"  # the record of how the shards were made; no later stage reads it
MODEL_FOLDER = "6_model"
REPORT_FOLDER = "7_report"

MODALITIES = ("image", "audio", "text", "video")
"""The rows of `pipeline.modalities.table.MODALITIES`, in the order in which samples list them."""

SPLITS = ("train", "val", "test")

CRAWLED: Columns = {
    "url": "string",  # canonical: never the address that a test host resolved to
    "final_url": "string?",  # after redirects
    "page": "string?",  # the page that embeds or links it; for a row of a URL list, the row's own URL
    "depth": "int64",  # links from a start page; 0 for start pages and lists
    "status": "int64?",  # HTTP status of the last answer
    "reason": "string?",  # null where the response was kept
    "detail": "string",
    "content_type": "string?",  # as the server declares it; nothing relies on it
    "caption": "string?",  # column of a URL list
    "label": "string?",  # column of a URL list
    "split": "string?",  # column of a URL list
    "licence": "string?",  # column of a URL list
    "attribution": "string?",
    "sha256": "string?",
    "tar": "string?",
    "offset": "int64?",
    "size": "int64?",
}
"""`1_crawled/crawl.parquet`: a row per URL tried, ordered by `url`."""

ITEMS: Columns = {
    "id": "string",  # sha256 of (sha256 of the bytes, source, file, part)
    "source": "string",  # `folder`, or the host that it was crawled from
    "file": "string",  # path inside the source with forward slashes: the path of the URL, or below ingest.root
    "part": "string",  # which part of the file: "" the whole, else a language or the name of a page's element
    "modality": "string",
    "media_type": "string",  # found from the bytes
    "url": "string?",
    "page": "string?",
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
    "sha256": "string",
    "tar": "string",
    "offset": "int64",
    "size": "int64",
}
"""`2_ingested/items.parquet`: a row per item, ordered by (source, file, part)."""

CLEANED: Columns = {
    **ITEMS,  # sha256, tar, offset and size are those of the cleaned bytes
    "width": "int64?",  # pixels, as stored: before orientation is applied
    "height": "int64?",
    "orientation": "int64?",  # 1 to 8 as in EXIF; extract applies it, once
    "channels": "int64?",
    "sample_rate": "int64?",  # Hz
    "frames": "int64?",  # audio samples per channel; of a video, images
    "characters": "int64?",
    "redactions": "int64",
    "exact_cluster": "string",  # smallest id of the items of this modality with the same cleaned bytes
    "near_cluster": "string",  # smallest id of the items that look, sound or read the same
}
"""`3_cleaned/items.parquet`: the items that can be decoded, ordered by `id`."""

CHECKED_COLUMNS = tuple(
    name for name in CLEANED if name not in ITEMS and name not in ("redactions", "exact_cluster", "near_cluster")
)
"""The columns of `CLEANED` that the check of a modality fills; those of other modalities are null."""

SAMPLES: Columns = {
    "key": "string",
    "split": "string",
    "label": "string?",
    "group": "string",  # samples of one group are in one split
    **dict.fromkeys(MODALITIES, "string?"),  # id of the item, null where the sample lacks it
    **{f"{name}_{edge}": "float64?" for name in MODALITIES for edge in ("start", "end")},  # seconds; null: the whole
}
"""`4_aligned/samples.parquet`: a row per sample, ordered by `key`."""

TABLES: dict[str, Columns] = {
    "crawl": CRAWLED,
    "ingest": ITEMS,
    "clean": CLEANED,
    "align": SAMPLES,
    "dropped": DROPPED,
}
