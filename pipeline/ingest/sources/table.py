"""List the sources of files: to add one, write a module with a `Source` and add its row here."""

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.ingest.sources.source import Source

SOURCES: LazyTable[Source] = LazyTable(
    {
        "crawl": LazyObject("pipeline.ingest.sources.crawl:CRAWL"),
        "folder": LazyObject("pipeline.ingest.sources.folder:FOLDER"),
    },
    LazyObject("pipeline.ingest.sources.source:Source"),
)
