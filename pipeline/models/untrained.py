"""Write and read `untrained.json`: the model folder of a dataset from which nothing can be learned has this alone."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import InputError
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.dataclass_json import load_value

UNTRAINED_NAME = "untrained.json"


@dataclass(frozen=True)
class Untrained:
    """Why there is no model: the hash of the dataset, and the reason."""

    dataset: str
    reason: str


def write_untrained(folder: Path, untrained: Untrained) -> None:
    """Write the file into `folder`."""
    (folder / UNTRAINED_NAME).write_bytes(encode_canonical(asdict(untrained), indent=1) + b"\n")


def read_untrained(folder: Path) -> Untrained | None:
    """Return what `write_untrained` wrote, or None where it wrote nothing.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / UNTRAINED_NAME
    if not path.is_file():
        return None
    try:
        untrained: Untrained = load_value(Untrained, decode_json(path.read_bytes()), UNTRAINED_NAME)
    except FormatError as error:
        raise InputError(f"{path}: {error}: train again (`dvc repro`)") from error
    return untrained
