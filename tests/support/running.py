"""Run stages in this process, as `dvc repro` does in their own."""

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.codegen.dvc_yaml import NODES
from pipeline.config.check_params import check_all_blocks, check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.step import crawl
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.extract.params import ExtractParams
from pipeline.extract.step import extract
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.list.step import list_inputs
from pipeline.runtime.run_stage import Stage, open_workspace, publish
from pipeline.tables.drops import Outcome
from pipeline.train.params import TrainParams
from pipeline.train.step import train

ROOT = Path(__file__).parents[2]

DEMO_THINGS = "crawl__hosts__demo.test__options__things"
"""The number of things of the demo, for `edit_params`."""

STEPS: Mapping[str, Callable[[Stage], Outcome]] = {
    "list": lambda s: list_inputs(s.read_block("ingest", IngestParams), s.workspace),
    "crawl": lambda s: crawl(s.read_block("crawl", CrawlParams), s.workspace),
    "ingest": lambda s: ingest(s.read_block("ingest", IngestParams), s.workspace),
    "clean": lambda s: clean(s.read_block("clean", CleanParams), s.workspace),
    "align": lambda s: align(s.read_block("align", AlignParams), s.workspace),
    "extract": lambda s: extract(s.read_block("extract", ExtractParams), s.workspace),
    "train": lambda s: train(s.read_block("train", TrainParams), s.workspace),
    "evaluate": lambda s: evaluate(s.read_block("evaluate", EvaluateParams), s.workspace),
}


def edit_params(file: str = "params.yaml", **changes: Any) -> dict[str, Any]:
    """Return the blocks of a params file with `stage__key__key=value` changed, and `run.workers` 0 if not changed."""
    blocks = copy.deepcopy(read_effective_params(ROOT / file))
    blocks["run"]["workers"] = 0
    for name, value in changes.items():
        *path, key = name.split("__")
        block = blocks
        for part in path:
            block = block[part]
        assert key in block, name
        block[key] = value
    check_all_blocks(blocks)
    return blocks


def run_stages(
    blocks: dict[str, Any], folder: Path, until: str = "evaluate", since: str = "list"
) -> dict[str, Outcome]:
    """Run the stages from `since` up to `until` with their outputs under `folder / "data"`; their outcomes by name.

    Each sees what its node says that it reads, and nothing else: what DVC does not watch is not there.
    """
    outcomes: dict[str, Outcome] = {}
    run = check_block(blocks, "run", RunParams).model_copy(update={"cache": str(folder / "cache")})
    names = [node.name for node in NODES]
    for node in NODES[names.index(since) : names.index(until) + 1]:
        with open_workspace(node.name, folder / "data", run) as workspace:
            inputs = folder / "inputs" / node.name
            inputs.mkdir(parents=True)
            for read in node.reads:
                (inputs / read).parent.mkdir(exist_ok=True)
                (inputs / read).symlink_to(workspace.data / read)
            outcome = STEPS[node.name](Stage(blocks, replace(workspace, data=inputs)))
            outcome.check()
            publish(workspace, node.writes)
        outcomes[node.name] = outcome
    return outcomes


def hash_files(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file under `folder` by its path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
