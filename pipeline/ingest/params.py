"""The block `ingest:` of `params.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.params import Params, Share, Strings

TextLayout = Literal["whole", "first_line", "lines", "tagged_lines"]


class IngestParams(Params):
    """What comes in, and how files become items."""

    root: Annotated[str, Field(min_length=1)]
    """A folder to read besides what was crawled; links that lead out of it are refused."""
    ignore: Strings
    """Names of files and folders that are not data: not read and not counted."""
    text: TextLayout
    """What a text file holds: one text; one text in its first line; a text a line; or captions, the first line in the
    default language and each further one as `lang=caption` or `lang.utf8=caption`."""
    default_language: Annotated[str, Field(min_length=2)]
    """Of text that does not say."""
    languages: Strings | None
    """Keep text in these alone, spelled as the data spells them; null: all."""
    page_text: Annotated[str, Field(min_length=1)] | None
    """CSS selector of a page's text; several matches are one text, a line each. Null: pages give no text."""
    page_label: Annotated[str, Field(min_length=1)] | None
    """CSS selector of the label that a page gives to itself and to what it embeds: the `content` attribute of the first
    match, else its text. Null: pages give no label."""
    table: Annotated[str, Field(pattern=r"^[^/].*\.(csv|jsonl|parquet)$")] | None
    """Path below `root` of a table with a column `file` (a path below `root`), and as wished `caption`, `label`,
    `group`, `split`, `licence`, `attribution`, `language`, `sample` (its own name for what belongs together), `start`
    and `end` (seconds)."""
    licence: str | None
    """Of files that do not say."""
    attribution: str | None
    """Of files that do not say."""
    licences: Strings | None
    """Keep files under these alone; null: all, and those without one."""
    max_dropped: Share
    """Share of files; more stops the run."""
