"""Print the end of `make repro`: the model's scores, and the paths of the outputs."""

import json
import sys
from pathlib import Path

from pipeline.tables.contracts import EXTRACT_FOLDER, MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER

OUTPUTS = {
    f"{REPORT_FOLDER}/index.html": "the report; open it in a browser",
    SHARDS_FOLDER: "the shards; `shardwright info data/5_shards`",
    MODEL_FOLDER: "the model",
    f"{EXTRACT_FOLDER}/dropped": "table of the samples that extract dropped, with reasons; each stage has its own",
}

LABELS = {"macro_f1": "macro F1"}
"""Of scores whose name in the metrics does not say it."""


def format_closing(data: Path) -> str:
    """Return the last lines of a run whose outputs are under `data`."""
    metrics, summary = (
        json.loads((data / REPORT_FOLDER / name).read_text(encoding="utf-8"))
        for name in ("metrics.json", "summary.json")
    )
    names = [name for name in metrics if f"{name}_low" in summary]  # a task's main scores are those with an interval
    scores = [f"{LABELS.get(name, name.replace('_at_', '@').replace('_', ' '))} {metrics[name]:.3f}" for name in names]
    lines = ["all stages are up to date", ", ".join(scores) or "no scores: nothing was trained or evaluated"]
    return "\n".join([*lines, *(f"  {data / path}: {label}" for path, label in OUTPUTS.items())])


if __name__ == "__main__":
    sys.stdout.write(format_closing(Path("data")) + "\n")
