"""The folders and the recipe of a run, and how one item's features are computed: what every task needs."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.config.params import Params
from pipeline.errors import InputError
from pipeline.extract.feature_entry import Fields, compute_entry
from pipeline.extract.frozen_encoder import FrozenEncoder, compute_encoded_entry
from pipeline.extract.plan_fields import FieldPlan
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.stage_folders import StageFolders
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.stopwatch import clock
from pipeline.tables.blob_store import TarReader, read_location
from pipeline.tables.columns import Row
from pipeline.tables.item_names import name_item
from shardwright.format.canonical_json import decode_json


@dataclass(frozen=True)
class ExtractFolders(StageFolders):
    """The folders of a stage, with the file of item rows."""

    @property
    def items(self) -> Path:
        """The file of item rows, by item number, see `pipeline.extract.item_rows`."""
        return self.work / "items.arrow"


@dataclass(frozen=True)
class Extractor:
    """One modality with its params and its own fields in order; the last one is that of its encoder, if it has one."""

    modality: str
    params: Params
    fields: Fields
    encoder: FrozenEncoder | None = None

    def count_bytes(self) -> int:
        """Return the bytes of one feature's arrays with their headers."""
        return sum(len(field.header) + field.nbytes for field in self.fields.values())

    def prepare(self) -> None:
        """Load what the features need.

        Raises:
            ParamsError, InputError: something is missing.
        """
        MODALITIES[self.modality].prepare(self.params)

    def compute(self, row: Row, cache_key: bytes, reader: TarReader) -> Entry:
        """Compute the feature of an item, given by its row with the columns `start` and `end`, as a cache entry.

        Raises:
            InputError: the item's bytes are damaged.
        """
        item = read_item(row, reader)
        if self.encoder is not None:
            return compute_encoded_entry(item, self.encoder, self.fields, cache_key)
        return compute_entry(MODALITIES[self.modality], item, self.params, self.fields, cache_key)


def make_extractors(plan: FieldPlan) -> dict[str, Extractor]:
    """Return the extractor of each modality in use."""
    return {
        name: Extractor(name, params, plan.own[name], plan.encoders.get(name)) for name, params in plan.params.items()
    }


def read_item(row: Row, reader: TarReader) -> MediaItem:
    """Return the item of a row, with its bytes.

    Raises:
        InputError: the bytes differ from those that were cleaned; the message names the tar and the item.
    """
    with clock("read bytes"):
        data = reader.read(read_location(row))
        sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row["sha256"]:
        raise InputError(f"{row['tar']} is damaged at item {name_item(row)}: remove the file and run `dvc repro` again")
    return MediaItem(data, row["media_type"], row["orientation"], row["start"], row["end"], row["language"])


@dataclass(frozen=True)
class Learned:
    """The vocabulary file of a modality: too large to send with each task, read once in each process."""

    modality: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """What all shards share: the fields, the vocabulary if there is one, and a hash of both and of how shards are
    assembled."""

    plan: FieldPlan
    learned: Learned | None
    assembly: bytes


@lru_cache(maxsize=1)
def read_learned(learned: Learned) -> Any:
    """Return the learned vocabulary as JSON values."""
    return decode_json(learned.path.read_bytes())
