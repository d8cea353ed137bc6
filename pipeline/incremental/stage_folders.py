"""The folders of a stage that computes from items."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.incremental.object_store import ObjectStore


@dataclass(frozen=True)
class StageFolders:
    """The paths that a task uses: the data folder, the cache, the work folder of the run."""

    data: Path
    cache: Path
    work: Path

    @property
    def objects(self) -> ObjectStore:
        """Return the object store of the item cache."""
        return ObjectStore(self.cache, self.work)
