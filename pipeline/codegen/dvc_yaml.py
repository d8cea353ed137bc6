"""Write `dvc.yaml`: what each stage runs, reads, depends on and writes.

DVC notices only what `dvc.yaml` names. So each stage lists every file of this project that it runs (found by
`pipeline.incremental.module_sources`), the folders that it reads and the blocks of `params.yaml` that it uses. `make
generated` writes the file anew, and a test compares it with the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.plugins import FOLDER as PLUGINS
from pipeline.incremental.module_sources import find_source_files
from pipeline.tables.contracts import (
    ALIGNED_FOLDER,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED_FOLDER,
    CLEANED_ITEMS,
    CRAWLED_FOLDER,
    DROPPED_TABLES,
    EXTRACT_FOLDER,
    INGESTED_FOLDER,
    LISTED_FOLDER,
    MODEL_FOLDER,
    REDACTED_TABLES,
    REPORT_FOLDER,
    SHARDS_FOLDER,
)

HEADER = """\
# The stages. Written by `make generated` from pipeline/codegen/dvc_yaml.py, which finds the code that each stage runs.
# Edit params.yaml to change what a stage does.
"""


@dataclass(frozen=True)
class Node:
    """A stage: its name, the blocks of `params.yaml` that it uses, the folders (or tables in them) that it reads, the
    folders that it writes.

    Attributes:
        always: DVC runs it each time: it looks at what DVC does not watch.
    """

    name: str
    params: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    always: bool = False


REPORT_INPUTS = (
    SHARDS_FOLDER,
    MODEL_FOLDER,
    *DROPPED_TABLES.values(),
    *REDACTED_TABLES,
    CLEANED_ITEMS,
    ALIGNED_SAMPLES,
    ALIGNED_PARTS,
)
"""What evaluate reads: beside shards and model what was left out or redacted, and what tells whether splits share
something."""

NODES = (
    Node("list", (), (), (LISTED_FOLDER,), always=True),
    Node("crawl", ("crawl",), (), (CRAWLED_FOLDER,)),
    Node("ingest", ("ingest",), (LISTED_FOLDER, CRAWLED_FOLDER), (INGESTED_FOLDER,)),
    Node("clean", ("clean",), (CRAWLED_FOLDER, INGESTED_FOLDER), (CLEANED_FOLDER,)),
    Node("align", ("align",), (INGESTED_FOLDER, CLEANED_FOLDER), (ALIGNED_FOLDER,)),
    Node(
        "extract",
        ("extract",),
        (CRAWLED_FOLDER, INGESTED_FOLDER, CLEANED_FOLDER, ALIGNED_FOLDER),
        (SHARDS_FOLDER, EXTRACT_FOLDER),
    ),
    Node("train", ("train",), (SHARDS_FOLDER,), (MODEL_FOLDER,)),
    Node("evaluate", ("evaluate",), REPORT_INPUTS, (REPORT_FOLDER,)),
)

WEIGHTS = "weights"
"""The folder of files that encoders start from."""

EXTRA_INPUTS = {
    "crawl": ["${crawl.lists_folder}"],
    **{stage: [PLUGINS] for stage in ("ingest", "clean", "evaluate")},
    **{stage: [PLUGINS, WEIGHTS] for stage in ("extract", "train")},
}
"""Further inputs: folders whose path is a setting, and those of the user's own code and weights, of which params name
files."""


def find_missing_keys(blocks: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the keys without which DVC fails and that the `blocks` of a params file lack.

    They are the blocks that `dvc.yaml` watches ("Parameters 'clean' are missing from 'params.yaml'") and the keys that
    it interpolates ("Could not find 'crawl.lists_folder'").
    """
    missing: dict[str, tuple[str, ...]] = {}
    for node in NODES:
        for path in EXTRA_INPUTS.get(node.name, []):
            if path in (PLUGINS, WEIGHTS):
                continue
            block, _, key = path.removeprefix("${").removesuffix("}").partition(".")
            keys = blocks.get(block) or {}
            if isinstance(keys, Mapping) and key not in keys:
                missing[block] = (block, key)
        missing |= {block: (block,) for block in node.params if block not in blocks and block not in missing}
    return list(missing.values())


def build_stages() -> dict[str, Any]:
    """Return the content of `dvc.yaml`."""
    stages = {
        node.name: {
            "cmd": f"python -m stages.{node.name}",
            **({"params": list(node.params)} if node.params else {}),
            "deps": [
                *EXTRA_INPUTS.get(node.name, []),
                *(f"data/{folder}" for folder in node.reads),
                *find_source_files(f"stages.{node.name}"),
            ],
            "outs": [f"data/{folder}" for folder in node.writes],
            **({"always_changed": True} if node.always else {}),
        }
        for node in NODES
    }
    report = f"data/{REPORT_FOLDER}"
    return {
        "stages": stages,
        "metrics": [f"{report}/summary.json"],
        "plots": [
            {f"{report}/confusion.csv": {"template": "confusion", "x": "actual", "y": "predicted"}},
            {f"{report}/subsets.csv": {"template": "bar_horizontal", "x": "macro_f1", "y": "subset"}},
            {f"data/{MODEL_FOLDER}/history.tsv": {"x": "epoch", "y": ["train_loss", "val_loss"]}},
        ],
    }


def render_stages() -> str:
    """Return the text of `dvc.yaml`."""
    return HEADER + yaml.safe_dump(build_stages(), sort_keys=False, width=120)


if __name__ == "__main__":
    Path("dvc.yaml").write_text(render_stages(), encoding="utf-8")
