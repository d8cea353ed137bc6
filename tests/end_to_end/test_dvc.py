"""Check that DVC runs all stages, knows when all is up to date, and reruns exactly what a changed value touches."""

import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.codegen.dvc_yaml import NODES
from pipeline.config.choose_params import set_value
from tests.support.dvc_checkout import DvcCheckout, change_param

pytestmark = pytest.mark.slow

CHANGES: Mapping[str, tuple[Any, set[str]]] = {
    "crawl.max_depth": (9, {"crawl"}),
    "crawl.hosts.demo\\.test.options.seed": (8, {"crawl"}),
    "ingest.text": ("lines", {"ingest"}),
    "clean.audio.max_channels": (7, {"clean"}),
    "align.min_samples": (2, {"align"}),
    "align.modalities.image.required": (False, {"align"}),
    "extract.text.min_count": (3, {"extract"}),
    "train.fusion": ("mean", {"train"}),
    "train.learning_rate": (1e-5, {"train"}),
    "evaluate.worst": (11, {"evaluate"}),
    "run.workers": (3, set()),
}
"""For each block keys of params.yaml, whether it spells them or not, another value, and the stages that use them."""

STATUS = """
import json, sys
from pathlib import Path
from dvc.repo import Repo

for text in json.load(sys.stdin):
    Path("params.yaml").write_text(text)
    with Repo() as repo:
        print(json.dumps(sorted(repo.status())))
"""
"""Prints a line for each text of params.yaml: what `dvc status` would say. Starting that takes longer than its work."""


def split_key(key: str) -> list[str]:
    """Return the parts of a key; a dot within a part has a backslash before it."""
    return [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", key)]


@contextmanager
def changed_params(checkout: DvcCheckout, **changes: Any) -> Iterator[Path]:
    """Yield params.yaml with `stage__key=value` changed; it is put back at the end."""
    params = checkout.folder / "params.yaml"
    before = params.read_text()
    try:
        for key, value in changes.items():
            change_param(checkout.folder, key.split("__"), value)
        yield params
    finally:
        params.write_text(before)


def list_stages_run(checkout: DvcCheckout, *target: str) -> list[str]:
    said = checkout.run("dvc", "repro", *target)
    return [node.name for node in NODES if f"Running stage '{node.name}'" in said and not node.always]


def find_changed(checkout: DvcCheckout) -> set[str]:
    """The stages that `dvc status` names, without `list`, which it always does."""
    changed = json.loads(checkout.run("dvc", "status", "--json"))
    assert changed.pop("list") == ["always changed"]
    return set(changed)


def test_all_is_up_to_date_after_a_run(checkout: DvcCheckout) -> None:
    assert find_changed(checkout) == set()
    again = checkout.run("dvc", "repro")
    assert re.findall(r"Running stage '(\w+)'", again) == ["list"]
    assert all(f"'{node.name}' didn't change" in again for node in NODES if not node.always)


def test_build_finds_what_dvc_made_up_to_date_and_says_what_dvc_cannot_do(checkout: DvcCheckout) -> None:
    build = (sys.executable, "-c", "import sys; from pipeline.runtime.build_command import run; sys.exit(run([]))")
    before = (checkout.folder / "dvc.lock").read_bytes()
    said = checkout.run(*build)
    assert (checkout.folder / "dvc.lock").read_bytes() == before
    expected = r"list     in 0 = kept 0 \+ dropped 0[^\n]*\n +0 new or changed\n( +ignored: [^\n]*\n)?"
    assert re.fullmatch(expected, said), said
    with (checkout.folder / ".dvc/tmp/lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another DVC process works in this folder" in checkout.run(*build, fails=True)
    (checkout.folder / "lists").rename(checkout.folder / "elsewhere")
    assert "the stage crawl reads lists, which is missing" in checkout.run(*build, fails=True)
    (checkout.folder / "elsewhere").rename(checkout.folder / "lists")
    assert find_changed(checkout) == set()


def test_a_changed_value_touches_the_stages_that_use_it(checkout: DvcCheckout) -> None:
    with changed_params(checkout) as params:
        texts = [set_value(params.read_text(), split_key(key), value) for key, (value, _) in CHANGES.items()]
        said = checkout.run(sys.executable, "-c", STATUS, text=json.dumps(texts))
    found = [set(json.loads(line)) for line in said.splitlines()]
    assert dict(zip(CHANGES, found, strict=True)) == {key: {"list", *stages} for key, (_, stages) in CHANGES.items()}


def test_changed_values_run_their_stages_and_those_whose_input_changed(checkout: DvcCheckout) -> None:
    """DVC compares what a block spells: a key added with its default runs its stage alone, whose output is the same."""
    with changed_params(checkout, align__min_samples=1, evaluate__worst=11):
        assert find_changed(checkout) == {"align", "evaluate"}
        assert list_stages_run(checkout) == ["align", "evaluate"]
    assert "Stage 'evaluate' is cached - skipping run" in checkout.run("dvc", "repro")
    assert find_changed(checkout) == set()


def test_a_block_that_is_left_out_is_added_before_dvc_looks_for_it(checkout: DvcCheckout) -> None:
    with changed_params(checkout) as params:
        blocks = YAML(typ="safe").load(params)
        del blocks["evaluate"], blocks["crawl"]["lists_folder"], blocks["run"]
        YAML().dump(blocks, params)
        refused = checkout.run("dvc", "status", "--json", fails=True)
        assert "Could not find 'crawl.lists_folder'" in refused
        added = checkout.run(sys.executable, "-m", "pipeline.config.choose_params")
        assert "params.yaml: added `crawl: {lists_folder: lists}`, which dvc.yaml watches" in added
        assert "params.yaml: added `evaluate: {}`, which dvc.yaml watches" in added
        assert find_changed(checkout) == {"evaluate"}


def test_a_new_local_file_runs_ingest_and_a_touched_one_does_not(checkout: DvcCheckout) -> None:
    """What DVC could not hash, a FIFO and a link to nothing, is a row of the listing."""
    inbox = checkout.folder / "inbox"
    new = inbox / "new.txt"
    new.write_text("a new thing")
    os.mkfifo(inbox / "fifo")
    (inbox / "nothing").symlink_to("nowhere")
    assert list_stages_run(checkout, "ingest") == ["ingest"]
    os.utime(new, (0, 0))
    assert list_stages_run(checkout, "ingest") == []
    for name in ("new.txt", "fifo", "nothing"):
        (inbox / name).unlink()
    assert list_stages_run(checkout, "ingest") == []  # its output is in DVC's run cache
