"""Write numbers of a training by step as event files, which TensorBoard shows.

An event is a record of TensorBoard's own format. Files of a folder are read one after the other as one run: a training
that goes on cuts what was written after its saved state, and adds a file.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.train.params import TrainParams

VERSION = "brain.Event:2"
"""Of the format, the first event of each file."""

RECORD_BYTES = 16
"""Of a record beside its event: the length and two checksums."""


class ScalarEvents:
    """The event files of a run.

    Args:
        folder: of the run.
        step: after which the training goes on; what was written of later steps is removed, at 0 all.
    """

    def __init__(self, folder: Path, step: int) -> None:
        if step == 0:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.iterdir())
        for path in files:
            cut_events(path, step)
        self.path = folder / f"events.out.tfevents.{len(files):06d}"
        self._write(file_version=VERSION)
        if step:  # a TensorBoard that shows the run forgets the steps that are taken again
            self._write(step=step + 1, session_log={"status": "START"})

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write numbers of a step by their names; None is left out."""
        scalars = [{"tag": name, "simple_value": value} for name, value in values.items() if value is not None]
        self._write(step=step, summary={"value": scalars})

    def _write(self, **fields: Any) -> None:
        """Append an event. The file is open no longer than that, so a stop leaves whole events."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self.path.open("ab") as file:
            RecordWriter(file).write(Event(wall_time=time.time(), **fields).SerializeToString())


def cut_events(path: Path, step: int) -> None:
    """Remove the events of a file from the first one on that is of a later step than `step`, or damaged."""
    from tensorboard.compat.proto.event_pb2 import Event

    end = 0
    for content in read_records(path):
        if Event.FromString(content).step > step:
            break
        end += len(content) + RECORD_BYTES
    os.truncate(path, end)


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the events of a file, as far as it is whole."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    yield from RawEventFileLoader(str(path)).Load()


def check_installed(params: TrainParams) -> None:
    """Check that what `train.tensorboard` needs is installed.

    Raises:
        InputError: it is not.
    """
    if not params.tensorboard:
        return
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise InputError(
            "train.tensorboard is true, but the package tensorboard is not installed: pip install tensorboard, or set "
            "it to false"
        ) from None
