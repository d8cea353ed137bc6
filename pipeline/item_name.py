"""What an item is called in a ledger: by where it came from, so that a person finds it again."""

from collections.abc import Mapping
from typing import Any


def name_item(row: Mapping[str, Any]) -> str:
    """`folder:animals/owl.png`, `demo.test:things/owl.html#page`: unique, as (source, file, part) is."""
    part = f"#{row['part']}" if row["part"] else ""
    return f"{row['source']}:{row['file']}{part}"
