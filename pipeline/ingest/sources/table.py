"""List the sources of files: to add one, write a module with a `Source` and add its row here.

A kind that `ingest.sources` may have stands in `pipeline.inputs.kinds`, too."""

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.config.plugins import is_plugin
from pipeline.ingest.sources.source import Source
from pipeline.inputs.params import InputParams

SOURCES: LazyTable[Source] = LazyTable(
    {
        "crawl": LazyObject("pipeline.ingest.sources.crawl:CRAWL"),
        "folder": LazyObject("pipeline.ingest.sources.folder:FOLDER"),
        "zip": LazyObject("pipeline.ingest.sources.zip:ZIP"),
        "tar": LazyObject("pipeline.ingest.sources.tar:TAR"),
        "webdataset": LazyObject("pipeline.ingest.sources.webdataset:WEBDATASET"),
        "warc": LazyObject("pipeline.ingest.sources.warc:WARC"),
        "rows": LazyObject("pipeline.ingest.sources.rows:ROWS"),
        "parquet": LazyObject("pipeline.ingest.sources.parquet:PARQUET"),
    },
    LazyObject("pipeline.ingest.sources.source:Source"),
)


def select_sources(params: InputParams) -> dict[str, Source]:
    """Return the sources by name: those of the table, and the plugins that the params name.

    Raises:
        ParamsError: a plugin cannot be imported, or is no `Source`; the message has its file.
    """
    own = [source.kind for source in params.list_sources() if is_plugin(source.kind)]
    return {name: SOURCES[name] for name in (*SOURCES, *dict.fromkeys(own))}
