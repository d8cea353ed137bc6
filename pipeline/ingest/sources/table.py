"""List the sources of files: to add one, write a module with a `Source` and add its row here.

A kind that `ingest.sources` may have stands in `pipeline.inputs.kinds`, too."""

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.ingest.sources.source import Source

SOURCES: LazyTable[Source] = LazyTable(
    {
        "crawl": LazyObject("pipeline.ingest.sources.crawl:CRAWL"),
        "folder": LazyObject("pipeline.ingest.sources.folder:FOLDER"),
        "zip": LazyObject("pipeline.ingest.sources.zip:ZIP"),
        "tar": LazyObject("pipeline.ingest.sources.tar:TAR"),
        "webdataset": LazyObject("pipeline.ingest.sources.webdataset:WEBDATASET"),
        "warc": LazyObject("pipeline.ingest.sources.warc:WARC"),
        "parquet": LazyObject("pipeline.ingest.sources.parquet:PARQUET"),
    },
    LazyObject("pipeline.ingest.sources.source:Source"),
)
