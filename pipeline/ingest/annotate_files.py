"""Gather what sources and the user's tables say of files, and find the file that each row is about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np

from pipeline.errors import InputError
from pipeline.ingest.read_tables import LANGUAGE, TABLE_ROWS, TableFile, find_tables
from pipeline.ingest.sources.bucket import ListedObject, fetch_object
from pipeline.ingest.sources.source import Source, SourceInputs
from pipeline.inputs.bucket import Bucket
from pipeline.inputs.locate_inputs import locate_inputs
from pipeline.inputs.read_file import hash_file, locate_file
from pipeline.tables.columns import Columns, build_batch
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.database import Database
from pipeline.tables.dropped_rows import PART, DroppedRows
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_file

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER: Columns = {"number": "int64"}
"""The place of a row among all."""

ORIGIN = "folder"
"""The source that tables are in."""

Files = Mapping[str, tuple[int, bytes | None, str | None]]
"""The size, sha256 and version of files, as listed, by name."""

BATCH_ROWS = 10_000
SHOWN = 3
"""How many of the rows that name no file a message has."""

RECORDING = r"(?i)\.(wav|ogg|oga|opus|flac|mp3|m4a|aac|aiff?|mp4|m4v|webm|mkv|mov|avi|ogv)$"
"""The names of recordings: a transcript is of the one beside it."""

LOCAL = f"FROM listed WHERE source = '{ORIGIN}' AND container IS NULL"
UNKNOWN = "FROM annotations ANTI JOIN listed USING (source, file)"

STEM = r"regexp_replace(file, '\.[^./]+$', '')"

RENAME = f"""
    UPDATE annotations SET file = known.file
    FROM (SELECT number {UNKNOWN}) unknown, (
        SELECT source, compose({{form}}) AS form, max(file) AS file FROM listed WHERE {{condition}}
        GROUP BY ALL HAVING count(*) = 1
    ) known
    WHERE annotations.number = unknown.number AND known.source = annotations.source
        AND known.form = compose({{wanted}})
"""
"""Gives rows whose file is not listed the name of the one file that has the same name in another form."""

IS_RECORDING = f"regexp_matches(file, '{RECORDING}')"
FORMS = (
    {"form": "file", "condition": "true", "wanted": "annotations.file"},
    {"form": STEM, "condition": IS_RECORDING, "wanted": "annotations.file"},
    {"form": STEM, "condition": IS_RECORDING, "wanted": f"regexp_replace(annotations.file, '{LANGUAGE}', '')"},
    {"form": STEM, "condition": "true", "wanted": "annotations.file"},
)
"""In another form of Unicode, as file systems differ; without the ending of a recording, as a transcript beside it is
called, which may have a language in its name; without any ending."""

LOST = f"""
    SELECT line AS key, '{Reason.MISSING_FILE}' AS reason,
        CASE WHEN several > 1 THEN several || ' files have its name but for the ending'
            ELSE 'the file that it names is not there' END AS detail,
        file AS value, CASE entry WHEN 0 THEN $first ELSE 'ingest.tables' END AS setting, '{PART}' AS unit
    FROM (SELECT * {UNKNOWN}) LEFT JOIN (
        SELECT source, {STEM} AS file, count(*) AS several FROM listed GROUP BY ALL
    ) USING (source, file)
    WHERE line IS NOT NULL
"""
"""What a source says of files that it does not have is no loss: it has a row of its own about them."""

COMPOSED = (
    "CREATE MACRO compose(text) AS CASE WHEN regexp_full_match(text, '[ -~]*') THEN text ELSE normalize(text) END"
)

STRUCT = ", ".join(f"'{name}': \"{name}\"" for name in ANNOTATIONS)
NESTED = f"""
    CREATE TABLE annotated AS SELECT listed.*, rows FROM listed LEFT JOIN (
        SELECT source, file, list({{{STRUCT}}} ORDER BY number) AS rows
        FROM annotations GROUP BY ALL
    ) USING (source, file)
"""


def annotate_files(
    sources: Mapping[str, Source], inputs: SourceInputs, database: Database, dropped: DroppedRows
) -> None:
    """Add the column `rows` to the table `listed`: what was said of each file, a list with the columns `ANNOTATIONS`.

    Files that are tables are taken from the listing, as dropped files. Rows of tables that cannot be used, or whose
    file is not there, are dropped rows of the unit `part`.

    Raises:
        InputError: a table is missing, damaged or not what was listed, or no row of it can be used; the message names
            the first rows.
    """
    database.create("annotations", {**NUMBER, **TABLE_ROWS})
    gathered = _Gatherer(database, dropped)
    for source in sources.values():
        for rows in source.annotate(inputs) if source.annotate is not None else ():
            gathered.add(rows)
    for table, files in _take_tables(inputs, database, dropped).items():
        with _open_folder(inputs, files) as (root, place):
            gathered.read(table, root, place)
    _find_files(database)
    gathered.check(inputs)
    dropped.add_query(LOST, {"first": inputs.params.name_table(0)})
    database.execute(NESTED)
    database.execute("DROP TABLE annotations; DROP TABLE listed; ALTER TABLE annotated RENAME TO listed")


class _Gatherer:
    """Adds rows to the table `annotations`, in order, and bad ones to the dropped rows."""

    def __init__(self, database: Database, dropped: DroppedRows) -> None:
        self._database = database
        self._dropped = dropped
        self._count = 0
        self._bad: dict[int, list[Drop]] = {}  # the first of each table of the params

    def add(self, rows: "pa.Table") -> None:
        """Add rows, with some of the columns `TABLE_ROWS`."""
        import pyarrow as pa

        numbers = np.arange(self._count, self._count + rows.num_rows)
        self._database.append("annotations", rows.append_column("number", pa.array(numbers)))
        self._count += rows.num_rows

    def read(self, table: TableFile, root: Path, place: str) -> None:
        """Add the rows of a table; see `TableFile.read`."""
        rows = table.read(root, place)
        bad = self._bad.setdefault(table.entry, [])
        while batch := list(islice(rows, BATCH_ROWS)):
            drops = [row for row in batch if isinstance(row, Drop)]
            self._dropped.add_parts(drops)
            bad += [drop for drop in drops if drop.reason != Reason.GUESSED_ENCODING][: SHOWN - len(bad)]
            self.add(build_batch([row for row in batch if not isinstance(row, Drop)], TABLE_ROWS))

    def check(self, inputs: SourceInputs) -> None:
        """Check that a row of each table can be used, if it has rows at all.

        Raises:
            InputError: none can; the message names the table, and the first rows with what is wrong with them.
        """
        counts = self._database.fetch(
            """
            SELECT entry, count(*) FILTER (listed.file IS NOT NULL), count(*)
            FROM annotations LEFT JOIN listed USING (source, file) WHERE entry IS NOT NULL GROUP BY ALL
            """
        )
        used = {entry: (known, count) for entry, known, count in counts}
        for entry, bad in self._bad.items():
            known, count = used.get(entry, (0, 0))
            if not known and (bad or count):
                self._refuse(entry, bad, inputs)

    def _refuse(self, entry: int, bad: list[Drop], inputs: SourceInputs) -> None:
        unknown = self._database.fetch(
            f"SELECT line, file {UNKNOWN} WHERE entry = $entry ORDER BY number LIMIT {SHOWN}", {"entry": entry}
        )
        shown = [f"{line}: {file!r} is not there" for line, file in unknown]
        shown += [f"{drop.key}: {drop.detail}" for drop in bad]
        table = inputs.params.annotation_tables[entry]
        folder = inputs.params.name_table_folder()
        raise InputError(
            f"no row of the table {table.path} in {folder} can be used: {'; '.join(shown[:SHOWN])}; "
            "look at columns, folder and ending in ingest.tables"
        )


def _take_tables(inputs: SourceInputs, database: Database, dropped: DroppedRows) -> dict[TableFile, Files]:
    """Return the tables with their files, and take them from the listing."""
    if not inputs.params.annotation_tables:
        return {}

    def match(pattern: str) -> list[str]:
        found = f"SELECT file {LOCAL} AND regexp_full_match(file, $pattern) ORDER BY file"
        return [file for (file,) in database.fetch(found, {"pattern": pattern})]

    tables = find_tables(inputs.params, match)
    settings = {path: table.setting for table in tables for path in table.list_paths()}
    paths = {"paths": sorted(settings)}
    found = database.fetch(f"SELECT file, size, sha256, version {LOCAL} AND file IN (SELECT unnest($paths))", paths)
    listed = {file: (size, sha256, version) for file, size, sha256, version in found}
    dropped.add(
        Drop(name_file(ORIGIN, file), Reason.USED_AS_TABLE, "a table of annotations", setting=settings[file])
        for file in listed
    )
    database.execute(f"DELETE {LOCAL} AND file IN (SELECT unnest($paths))", paths)
    for table in tables:
        if table.path not in listed:
            raise InputError(
                f"{table.setting}: {table.path} is not among the files in {inputs.params.name_table_folder()}"
            )
    return {table: {path: listed[path] for path in table.list_paths() if path in listed} for table in tables}


@contextmanager
def _open_folder(inputs: SourceInputs, files: Files) -> Iterator[tuple[Path, str]]:
    """Yield the folder that the files of a table are in, or that of copies of them, and what it is, as files' names may
    begin with that; check in the end that they are what was listed.

    Raises:
        InputError: one is not, or cannot be fetched.
    """
    place = locate_inputs(inputs.params)[inputs.params.find_table_source()]
    if isinstance(place, Bucket):
        copies = inputs.spool / "tables"
        for file, (size, _, version) in files.items():
            fetch_object(place, ListedObject(file, size, version or ""), Path(locate_file(copies, file)))
        yield copies, place.url
        return
    yield place.path, str(place.path)
    for file, (_, sha256, _) in files.items():
        found = hash_file(locate_file(place.path, file), follow=True)
        if isinstance(found, Rejection) or found.sha256 != sha256:
            raise InputError(f"{place.path}/{file} changed since it was listed: run `dvc repro` again")


def _find_files(database: Database) -> None:
    """Find the files of rows whose names are not listed as they are."""
    import pyarrow as pa

    def compose(names: "pa.Array") -> "pa.Array":
        return pa.array([normalize("NFC", name) for name in names.to_pylist()], pa.string())

    for number, form in enumerate(FORMS):
        if not database.fetch(f"SELECT 1 {UNKNOWN} LIMIT 1"):
            return
        if not number:
            database.add_function("normalize", compose, ["VARCHAR"], "VARCHAR")
            database.execute(COMPOSED)
        database.execute(RENAME.format(**form))
