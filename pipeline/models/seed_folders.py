"""Name the folders of the models of several seeds: the first one's is that of the model, the others lie in it."""

import csv
from pathlib import Path

SEEDS_NAME = "seeds.tsv"
"""The file in the model's folder with a row for each seed, where there are several."""


def name_folder(number: int, seed: int) -> str:
    """Return the folder of a run's model within the published one: of the first run that itself."""
    return f"seed-{seed}" if number else ""


def list_seed_folders(folder: Path) -> dict[int, Path]:
    """Return the folders of the models by their seeds, the published one first; nothing where there is one seed."""
    path = folder / SEEDS_NAME
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        seeds = [int(row["seed"]) for row in csv.DictReader(file, delimiter="\t")]
    return {seed: folder / name_folder(number, seed) for number, seed in enumerate(seeds)}
