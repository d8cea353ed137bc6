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

SCORES = {"macro_f1": "macro F1", "accuracy": "accuracy"}


def format_closing(data: Path) -> str:
    """Return the last lines of a run whose outputs are under `data`."""
    metrics = json.loads((data / REPORT_FOLDER / "metrics.json").read_text(encoding="utf-8"))
    scores = [f"{label} {metrics[name]:.3f}" for name, label in SCORES.items() if metrics[name] is not None]
    lines = ["all stages are up to date", ", ".join(scores) or "no scores: the split to evaluate on is empty"]
    return "\n".join([*lines, *(f"  {data / path}: {label}" for path, label in OUTPUTS.items())])


if __name__ == "__main__":
    sys.stdout.write(format_closing(Path("data")) + "\n")
