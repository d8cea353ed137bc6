"""Define the block `ingest:` of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.params import Share, Strings
from pipeline.consent.statements import ConsentParams
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.inputs.params import InputParams
from pipeline.privacy.kinds import DEFAULT_KINDS, Kind

WHOLE_PAGE = "whole"
"""The value of `page_text` that is no selector."""

TextLayout = Literal["whole", "first_line", "lines", "tagged_lines"]


class IngestParams(InputParams):
    """Which files come in, and how they become items."""

    text: TextLayout = "whole"
    """Layout of text files: the whole file is one text; its first line is; each line is; or each line is a caption, the
    first in the default language and each further one as `lang=caption` or `lang.utf8=caption`."""
    default_language: Annotated[str, Field(min_length=2)] = "en"
    """Language of text without one."""
    languages: Strings | None = None
    """Keep text in these languages only, spelled as in the data; null: all."""
    page_text: Annotated[str, Field(min_length=1)] | None = None
    """CSS selector of a page's text; several matches are one text, a line each. `whole`: the title and all text of the
    page, with captions and alt texts of its images, without navigation, footers and banners. Null: pages give no
    text."""
    figures: bool = False
    """Of pages, take each image's caption as a text: its figcaption, else the element of a class `caption` beside it,
    else its alt text, else the nearest heading, or paragraph. `align.by: figure` puts it with the image."""
    page_label: Annotated[str, Field(min_length=1)] | None = None
    """CSS selector of the label of a page and of what it embeds: the `content` attribute of the first match, else its
    text. Null: pages give no label."""
    animations: Literal["image", "video"] = "image"
    """What an animated GIF or WebP is: an image, of which the first frame is used, or a video of all its frames."""
    table: Annotated[str, Field(pattern=r"^[^/].*\.(csv|tsv|jsonl|json|parquet)$")] | None = None
    """Path below `root` of a table of annotations: the short form of `tables`, with its defaults."""
    tables: Annotated[tuple[AnnotationTable, ...], Field(strict=False)] = ()
    """Tables that say something of files, with any number of rows a file. The caption of a row becomes an item of its
    own, and so does each sample or span of a file that its rows name. A row that cannot be used, or whose file is not
    there, is a dropped row of the unit `part`."""
    licence: str | None = None
    """Licence of files without one."""
    attribution: str | None = None
    """Attribution of files without one."""
    licences: Strings | None = None
    """Keep files under these licences only; null: all, also those without one."""
    consent: ConsentParams = Field(default=ConsentParams())
    """Which statements of owners in the metadata of files count, for files that were not crawled; for those that were,
    `crawl.consent` decides."""
    redact: Annotated[tuple[Kind, ...], Field(strict=False)] = DEFAULT_KINDS
    """Kinds of personal data that become pseudonyms (`EMAIL-5f2c01d3aa9e`) in names: of files, URLs, samples, labels,
    groups, licences and attributions. `clean.text.redact` is for the texts themselves."""
    redact_key: Annotated[str, Field(min_length=1)] | None = None
    """File of the key of these pseudonyms, at least 16 random bytes. Null: no key, so that a guess of a value can be
    checked."""
    max_dropped: Share = 0.5
    """Largest share of files that may be dropped; more stops the run."""

    @property
    def annotation_tables(self) -> tuple[AnnotationTable, ...]:
        """Return `table`, if there is one, and `tables`."""
        return self.tables if self.table is None else (AnnotationTable(path=self.table), *self.tables)

    def name_table(self, entry: int) -> str:
        """Return the setting that names one of the `annotation_tables`."""
        return "ingest.tables" if self.table is None or entry else "ingest.table"
