"""The tar of one chunk: held in memory and written at once, so that a task can be run again without harm."""

from pathlib import Path

from pipeline.contracts import CLEANED_FOLDER
from pipeline.store import Place
from shardwright.publish import write_file
from shardwright.tar import BLOCK, END, encode_member


class ChunkTar:
    """Collects members for `path`. A chunk is bounded in bytes, and so is this."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: list[bytes] = []
        self._size = 0

    def add(self, name: str, data: bytes) -> Place:
        """Append a member and say where its content will be."""
        member = encode_member(name, data)
        place = Place(f"{CLEANED_FOLDER}/{self._path.name}", self._size + BLOCK, len(data))
        self._members.append(member)
        self._size += len(member)
        return place

    def write(self) -> None:
        """Write the tar under its name; none if nothing was added."""
        if self._members:
            write_file(self._path, [*self._members, END])
