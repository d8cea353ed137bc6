"""Name the samples: a key that is readable, fits a shard, and says nothing of hosts and folders. Number them by it."""

import hashlib
import re
import unicodedata
from urllib.parse import unquote, urlsplit

from pipeline.align.alignment import Alignment, map_pairs, map_values
from pipeline.align.divide_samples import has_each
from pipeline.errors import InputError
from pipeline.tables.database import Database

MAX_STEM = 51  # with a dash and the hash 64 characters, the longest key that a shard allows
HASH_DIGITS = 12  # 48 bits: a million samples of one stem collide with a probability of 0.2 %

EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.:-]+/+([A-Za-z0-9._~/-]*)")
"""URLs whose path needs no decoding: most of them, and seven times as fast."""

OTHERS = re.compile(r"[^A-Za-z0-9_]+")

MATERIAL = {
    "page": "find_path(together)",
    "figure": "find_path(together)",
    "pattern": "together",
    "table": "together",
    "file": "regexp_replace(together, '^//[^/]*/', '')",
}
"""The path or name that the key of a sample is made from; never contains a host."""

NAMED = """
    CREATE TABLE named AS
    SELECT sample, origin, together, make_key(material, suffix || {identity}) AS key, {base} AS base
    FROM (
        SELECT samples.*, together, material, {suffix} AS suffix
        FROM (SELECT sample, together, {material} AS material FROM gathered) AS gathered
        JOIN samples ON samples.origin = gathered.sample
        {window}
    )
"""

OF_SOURCES = ("page", "figure", "file")
SUFFIX = {
    True: "CASE first_value(together) OVER alike WHEN together THEN '' ELSE together END",
    False: "''",
}
WINDOW = {True: "WINDOW alike AS (PARTITION BY material ORDER BY together)", False: ""}
"""Pages and files of several hosts may have the same path: the first of them by URL gets the path's key, for the others
the URL goes into the hash."""

IDENTITY = {False: "''", True: "coalesce(identity, '')"}
BASE = {False: "NULL::VARCHAR", True: "make_key(material, suffix)"}
"""What tells samples apart that were divided; and the key that they would have as one sample."""

NUMBERED = """
    CREATE TABLE numbered AS
    SELECT row_number() OVER (ORDER BY coalesce(base, key), key, together)::UBIGINT AS number, * FROM named
"""

SAME_KEY = """
    SELECT key, max(together) FROM numbered GROUP BY key HAVING count(*) > 1 ORDER BY max(together) LIMIT 1
"""

SAMPLES = """
    CREATE OR REPLACE TABLE samples AS
    SELECT number AS sample, numbered.origin, key, base, label, split
    FROM samples JOIN numbered USING (sample) LEFT JOIN labels USING (sample) LEFT JOIN splits USING (sample)
"""

MEMBERS = """
    CREATE OR REPLACE TABLE members AS
    SELECT number AS sample, members.* EXCLUDE (sample) FROM members JOIN numbered USING (sample)
"""

REJECTED = "UPDATE rejected SET sample = number FROM numbered WHERE rejected.sample = numbered.sample"


def add_key_functions(database: Database) -> None:
    """Make the functions `find_path` and `make_key`."""
    import pyarrow as pa

    database.add_function("find_path", map_values(find_path, pa.string()), ["VARCHAR"], "VARCHAR")
    database.add_function("make_key", map_pairs(make_key, pa.string()), ["VARCHAR", "VARCHAR"], "VARCHAR")


def name_samples(alignment: Alignment) -> None:
    """Create the table `named`: the samples with their keys."""
    database, by = alignment.database, alignment.params.by
    divided = has_each(alignment)
    naming = NAMED.format(
        material=MATERIAL[by],
        suffix=SUFFIX[by in OF_SOURCES],
        window=WINDOW[by in OF_SOURCES],
        identity=IDENTITY[divided],
        base=BASE[divided],
    )
    database.execute(naming)
    database.execute("DROP TABLE gathered")


def number_samples(alignment: Alignment) -> None:
    """Number `samples` and `members` in the order of the keys; `samples` gets `key`, `base`, `label` and `split`.

    Raises:
        InputError: two samples have the same key; the message names what they were aligned by.
    """
    database = alignment.database
    database.execute(NUMBERED)
    for key, together in database.fetch(SAME_KEY):
        raise InputError(f"two samples have the key {key}: rename {together!r}, or leave it out by align.within")
    database.execute("DROP TABLE named")
    for statement in (SAMPLES, MEMBERS, REJECTED):
        database.execute(statement)
    database.execute("DROP TABLE numbered; DROP TABLE labels; DROP TABLE splits")


def make_key(material: str, suffix: str = "") -> str:
    """Return the key, `[A-Za-z0-9_-]{1,64}`, of the sample that was aligned by `material`, a path or a name.

    `animals/birds/owl` gives `animals-birds-owl-` and 12 hex digits: the last components that fit whole, without
    accents, with dashes for other characters. A material without any such character gives the stem `sample`. `suffix`
    goes into the hash alone: it separates samples of the same material.
    """
    digest = hashlib.sha256(f"{material}{suffix}".encode()).hexdigest()[:HASH_DIGITS]
    return f"{_make_stem(material) or 'sample'}-{digest}"


def _make_stem(material: str) -> str:
    plain = (
        material if material.isascii() else unicodedata.normalize("NFKD", material).encode("ascii", "ignore").decode()
    )
    stem = ""
    for piece in reversed(EXTENSION.sub("", plain).split("/")):
        part = OTHERS.sub("-", piece).strip("-")
        longer = f"{part}-{stem}" if stem and part else part or stem
        if len(longer) > MAX_STEM:
            return stem or part[:MAX_STEM]
        stem = longer
    return stem


def find_path(page: str) -> str:
    """Return the path of a URL as a folder would name it, so that a crawl and a folder give the same keys."""
    if plain := PLAIN_URL.fullmatch(page):
        return plain[1]
    parts = urlsplit(page)
    path = unquote(parts.path).lstrip("/")
    return unicodedata.normalize("NFC", f"{path}?{parts.query}" if parts.query else path)
