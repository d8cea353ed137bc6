"""Write what training publishes: the weights, the record of the model, and the history."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from pipeline.models.checkpoint import write_weights
from pipeline.models.history import HISTORY_NAME, Epoch, write_history, write_rows
from pipeline.models.inputs import has_words, read_vocabulary, read_vocabulary_file
from pipeline.models.record import ModelRecord, write_record
from pipeline.models.seed_folders import SEEDS_NAME
from pipeline.train.lesson import Lesson
from pipeline.train.progress import find_epoch
from pipeline.train.training_loop import Trainer
from shardwright import ShardDataset
from shardwright.format.canonical_json import decode_json


def write_model(folder: Path, lesson: Lesson, data: ShardDataset, trainer: Trainer) -> None:
    """Write the model's four files into `folder`, and the tokenizer where token ids are parts of words."""
    folder.mkdir(exist_ok=True)
    params, progress = trainer.params, trainer.progress
    record = ModelRecord(
        task=lesson.task,
        plan=asdict(lesson.plan),
        architecture=lesson.architecture,
        classes=tuple(data.classes or ()),
        dataset=data.hash,
        fields={name: field.to_json() for name, field in data.fields.items()},
        extract=dict(data.manifest.extract or {}),
        vocabulary=tuple(read_vocabulary(data.root, data.manifest)),
        params=params.model_dump(mode="json"),
        best=find_epoch(progress, params).to_row(),
        made_with={"torch": torch.__version__, "device": trainer.device.type},
        weights={
            **{name: write_weights(folder / name, weights) for name, weights in trainer.published.items()},
            **copy_tokenizer(data, folder),
        },
        initial_weights=lesson.initial_weights,
    )
    write_record(folder, record)
    write_history(folder / HISTORY_NAME, progress.history)


def copy_tokenizer(data: ShardDataset, folder: Path) -> dict[str, str]:
    """Copy the dataset's `tokenizer.json` to the model, and return its sha256 by name.

    A vocabulary of words is not copied, as the model's record has the words.
    """
    record = data.manifest.vocabulary
    content = b"" if record is None else read_vocabulary_file(data.root, record)
    if record is None or has_words(decode_json(content)):
        return {}
    (folder / record.name).write_bytes(content)
    return {record.name: record.sha256}


def write_seeds(folder: Path, seeds: Sequence[int], epochs: Sequence[Epoch]) -> None:
    """Write `seeds.tsv`: a row for each run, with its seed and the row of its history whose weights are evaluated."""
    rows = [{"seed": seed, **epoch.to_row()} for seed, epoch in zip(seeds, epochs, strict=True)]
    write_rows(folder / SEEDS_NAME, rows)
