"""Save the states of a training on disk, so that one that was stopped goes on from the latest of them.

A state is two files, `step-0000000120.safetensors` with the tensors, and `step-0000000120.json` with all else and the
sha256 of every file that belongs to the state. Each is written to a temporary file, synced and renamed, the JSON last:
a state exists once its JSON does. Tensors that later states share, such as the best weights, are a file of their own,
which is written once. Loading executes no code.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from pipeline.models.checkpoint import encode_weights
from shardwright.errors import FormatError
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical

KEPT = 2
"""States that are kept: where the latest is damaged, training goes on from the one before."""

SHARE = 0.01
"""Of the time that has passed, what saving may take: the next state waits until it fits in, at the last one's price."""

FIRST_COST = 0.05
"""Seconds that the first state is expected to take, so it is saved after five: 2.5 MB took 0.02 to 0.04 s here."""

DOCUMENT = ".json"
TENSORS = ".safetensors"


@dataclass(frozen=True)
class State:
    """All that a training needs to go on after `step` steps.

    Attributes:
        step: number of steps taken.
        document: what is no tensor, as JSON.
        tensors: by name.
        shared: groups of tensors that do not change any more, by a name that no other group of the run has.
    """

    step: int
    document: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    shared: Mapping[str, Mapping[str, Tensor]]


@dataclass
class SavedStates:
    """The states of one training.

    Attributes:
        folder: of the states.
        say: prints a line for the user.
        share: of the time, what saving may take.
        clock: seconds.
    """

    folder: Path
    say: Callable[[str], None]
    share: float = SHARE
    clock: Callable[[], float] = time.perf_counter
    _started: float = field(init=False)
    _spent: float = field(init=False, default=0.0)
    _cost: float = field(init=False, default=FIRST_COST)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def read_latest(self) -> State | None:
        """Return the latest state that is whole, or None; say so where one is damaged.

        Raises:
            OSError: the disk fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        for path in reversed(self._list_documents()):
            try:
                return self._read(path)
            except (FormatError, FileNotFoundError, safetensors.SafetensorError) as error:
                self.say(f"the saved state {path} is damaged ({error}); going on from an earlier one")
                path.unlink()
        return None

    def is_due(self) -> bool:
        """Return whether saving now would stay within the share of the time."""
        return self._spent + self._cost <= self.share * (self.clock() - self._started)

    def save(self, state: State) -> None:
        """Write a state, then remove those before the last two.

        Raises:
            OSError: the disk is full, or fails; the states before are left as they are.
        """
        start = self.clock()
        name = f"step-{state.step:010d}"
        files = {f"{group}{TENSORS}": tensors for group, tensors in state.shared.items()}
        hashes = {file: self._write_once(file, tensors) for file, tensors in files.items()}
        hashes[name + TENSORS] = _write_tensors(self.folder / (name + TENSORS), state.tensors)
        document = {"step": state.step, "files": hashes, "document": state.document}
        content = encode_canonical(document | {"hash": hash_canonical(document)}, indent=1)
        write_file(self.folder / (name + DOCUMENT), [content])
        self._remove_old()
        self._cost = self.clock() - start
        self._spent += self._cost

    def _list_documents(self) -> list[Path]:
        return sorted(self.folder.glob(f"step-*{DOCUMENT}"))

    def _read(self, path: Path) -> State:
        """Read a state by its document.

        Raises:
            FormatError: a file is not what was written.
            FileNotFoundError: one is missing.
        """
        document = decode_json(path.read_bytes())
        if not isinstance(document, dict) or document.pop("hash", None) != hash_canonical(document):
            raise FormatError(f"{path.name} has another hash")
        groups = {name.removesuffix(TENSORS): self._read_tensors(name, sha) for name, sha in document["files"].items()}
        tensors = groups.pop(path.stem)
        return State(document["step"], document["document"], tensors, groups)

    def _read_tensors(self, name: str, sha256: str) -> dict[str, Tensor]:
        content = (self.folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise FormatError(f"{name} has another sha256")
        return safetensors.torch.load(content)

    def _write_once(self, file: str, tensors: Mapping[str, Tensor]) -> str:
        """Write a file unless the latest state names it; return its sha256."""
        for path in reversed(self._list_documents()):
            known: Mapping[str, str] = decode_json(path.read_bytes())["files"]
            if file in known:
                return known[file]
        return _write_tensors(self.folder / file, tensors)

    def _remove_old(self) -> None:
        """Remove all states but the latest, and the files that only they name."""
        documents = self._list_documents()
        for path in documents[:-KEPT]:
            path.unlink()
        needed = {file for path in documents[-KEPT:] for file in decode_json(path.read_bytes())["files"]}
        for path in self.folder.glob(f"*{TENSORS}"):
            if path.name not in needed:
                path.unlink()


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors atomically; return the sha256 of the file."""
    content = encode_weights(tensors)
    write_file(path, [content])
    return hashlib.sha256(content).hexdigest()


def remove_others(folder: Path) -> None:
    """Remove the folders beside `folder`: states of trainings with other params, data or code."""
    if folder.parent.is_dir():
        for path in folder.parent.iterdir():
            if path != folder:
                shutil.rmtree(path)
