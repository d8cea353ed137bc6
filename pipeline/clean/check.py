"""The work of one process: check a chunk of items, and store anew the bytes that the check changed."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.clean.chunk_tar import ChunkTar
from pipeline.clean.params import CleanParams
from pipeline.errors import InputError
from pipeline.item_name import name_item
from pipeline.modalities.modality import Fingerprint
from pipeline.modalities.table import MODALITIES
from pipeline.records import Rejection
from pipeline.store import Place, TarReader, read_place
from pipeline.tables import Row


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a worker is given: rows of `2_ingested/items.parquet`, where their bytes are, and the file that takes those
    that change."""

    data: Path
    tar: Path
    rows: Sequence[Row]
    params: CleanParams

    @property
    def name(self) -> str:
        """For messages: the chunk and its first item."""
        return f"{self.tar.stem}, which begins with {name_item(self.rows[0])}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a worker says of an item that is fit for use. `place` is where its cleaned bytes are."""

    sha256: str
    place: Place
    rewritten: bool
    facts: Mapping[str, int]
    fingerprint: Fingerprint
    redactions: int


def check_chunk(chunk: Chunk) -> list[Finding | Rejection]:
    """A verdict for each row of the chunk, in its order. No bytes are returned: those that changed are in `chunk.tar`.

    Raises:
        InputError: stored bytes are not those that were ingested; the message names the tar and the item.
    """
    tar = ChunkTar(chunk.tar)
    with TarReader(chunk.data) as reader:
        verdicts = [_check_item(row, _read_item(reader, row), chunk.params, tar) for row in chunk.rows]
    tar.write()
    return verdicts


def _read_item(reader: TarReader, row: Row) -> bytes:
    raw = reader.read(read_place(row))
    if hashlib.sha256(raw).hexdigest() != row["sha256"]:
        raise InputError(f"{row['tar']} is damaged at {name_item(row)}: remove it and run `dvc repro` again")
    return raw


def _check_item(row: Row, raw: bytes, params: CleanParams, tar: ChunkTar) -> Finding | Rejection:
    modality = row["modality"]
    checked = MODALITIES[modality].check(raw, row["media_type"], params.checks[modality])
    if isinstance(checked, Rejection):
        return checked
    rewritten = checked.data != raw
    return Finding(
        sha256=hashlib.sha256(checked.data).hexdigest() if rewritten else row["sha256"],
        place=tar.add(row["id"], checked.data) if rewritten else read_place(row),
        rewritten=rewritten,
        facts=checked.facts,
        fingerprint=checked.fingerprint,
        redactions=checked.redactions,
    )
