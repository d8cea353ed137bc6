"""Make a project of three stages that are shell commands, to be built in an instant, and count how often each ran."""

from pathlib import Path

STAGES = """
stages:
  list:
    cmd: echo list >> "$RUNS" && mkdir -p data/listed && ls inbox > data/listed/files
    outs: [data/listed]
    always_changed: true
  extract:
    cmd: echo extract >> "$RUNS" && mkdir -p data/shards && sort data/listed/files > data/shards/files
    deps: [data/listed, lists]
    params: [extract]
    outs: [data/shards]
  train:
    cmd: {train}
    deps: [data/shards]
    params: [train]
    outs: [data/6_model]
"""

PARAMS = """\
crawl: {lists_folder: lists}
ingest: {}
clean: {}
align: {}
extract: {}
train:
  seed: 1  # of all
  learning_rate: 1e-3
evaluate: {}
"""

TRAIN = 'echo train >> "$RUNS" && mkdir -p data/6_model && grep -A9 "^train:" params.yaml > data/6_model/params'


def make_project(folder: Path, train: str = TRAIN) -> Path:
    """Write the project, whose stages append their names to the file that the variable `RUNS` names."""
    for name in (".dvc", "inbox", "lists"):
        (folder / name).mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n[cache]\n    type = hardlink\n")
    (folder / "dvc.yaml").write_text(STAGES.replace("{train}", train))
    (folder / "params.yaml").write_text(PARAMS)
    for name in ("inbox/one.txt", "lists/urls.csv"):
        (folder / name).write_text("something")
    return folder
