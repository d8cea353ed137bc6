"""Checks the whole params file before any work: a typo in `train:` must not wait for the end of a long crawl.

The types are looked up by name and not imported, so that a stage's code does not depend on every other stage's: all
that can come of this check is a refusal, never another byte.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipeline.config.params import check_block
from pipeline.errors import ParamsError

BLOCKS = {
    "crawl": "pipeline.crawl.params:CrawlParams",
    "ingest": "pipeline.ingest.params:IngestParams",
    "clean": "pipeline.clean.params:CleanParams",
    "align": "pipeline.align.params:AlignParams",
    "extract": "pipeline.extract.params:ExtractParams",
    "train": "pipeline.train.params:TrainParams",
    "evaluate": "pipeline.evaluate.params:EvaluateParams",
    "run": "pipeline.config.params:RunParams",
}
"""Every block of `params.yaml` with its type, in the file's order."""


def load_block_type(name: str) -> type[BaseModel]:
    """The type of the block `name`."""
    module, _, attribute = BLOCKS[name].partition(":")
    block_type: type[BaseModel] = getattr(importlib.import_module(module), attribute)
    return block_type


def check_all_blocks(blocks: Mapping[str, Any]) -> None:
    """Check every block, and that there are no others.

    Raises:
        ParamsError: with a line for each wrong key.
    """
    problems = []
    for name in BLOCKS:
        try:
            check_block(blocks, name, load_block_type(name))
        except ParamsError as error:
            problems.append(str(error))
    problems += [
        f"params.yaml: the block `{name}` is not known; known are {', '.join(BLOCKS)}"
        for name in blocks
        if name not in BLOCKS
    ]
    if problems:
        raise ParamsError("\n".join(problems))
