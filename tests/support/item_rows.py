"""Make rows of cleaned items: the columns of the ingested and the cleaned table, with ids for item numbers."""

import hashlib
from typing import Any

from pipeline.align.params import AlignParams
from pipeline.config.check_params import check_block
from pipeline.tables.columns import Row
from pipeline.tables.contracts import CLEANED, ITEMS

ENDINGS = {"image": "png", "audio": "ogg", "text": "txt"}


def make_item(modality: str, stem: str, **values: Any) -> Row:
    """Return an item of the file `<stem>.<extension>`, which is no duplicate unless `values` make it one."""
    row: Row = {
        **dict.fromkeys([*ITEMS, *CLEANED]),
        "source": "folder",
        "part": "",
        "modality": modality,
        "redactions": 0,
    }
    row |= {"file": f"{stem}.{ENDINGS[modality]}", "media_type": modality, "tar": "t", "offset": 0, "size": 1} | values
    row["id"] = hashlib.sha256("\0".join([row["source"], row["file"], row["part"]]).encode()).hexdigest()
    row = {**row, "sha256": row["id"], "exact_cluster": row["id"], "near_cluster": row["id"]}
    return {**row, **values}


def make_thing(stem: str, **values: Any) -> list[Row]:
    """Return an image, an audio and a text item of one name."""
    return [make_item(modality, stem, **values) for modality in ENDINGS]


NO_PATTERNS = {modality: {"required": True, "pattern": None, "part": None} for modality in ENDINGS}


def make_align_params(**changes: Any) -> AlignParams:
    """Return params with patterns over the path and labels from the first folder; `key__key=value` changes a value."""
    block: dict[str, Any] = {
        "by": "pattern",
        "within": None,
        "modalities": {
            modality: {"required": True, "pattern": rf"(?P<key>(?P<label>[^/]+)/.+)\.{ending}", "part": None}
            for modality, ending in ENDINGS.items()
        },
        "label": "path",
        "classes": None,
        "min_samples": 1,
        "duplicates": {"exact": "drop", "near": "group", "share_split": "any"},
        "split": "hash",
        "shares": {"train": 0.7, "val": 0.15, "test": 0.15},
        "salt": "0",
        "max_group": 0.2,
        "max_dropped": 1.0,
    }
    for name, value in changes.items():
        *path, key = name.split("__")
        inner = block
        for part in path:
            inner = inner[part]
        inner[key] = value
    return check_block({"align": block}, "align", AlignParams)
