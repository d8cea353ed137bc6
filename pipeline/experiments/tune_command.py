"""Run `shardwright tune`: search for params that give a better validation score."""

import argparse
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pipeline.config.check_params import read_params
from pipeline.config.choose_params import PARAMS, set_value
from pipeline.experiments.changed_params import add_option, parse_changes
from pipeline.experiments.search import OBJECTIVE, Search, search_params
from pipeline.experiments.search_space import split_ranges
from pipeline.lineage.verb import run_verb, write_lines
from pipeline.runtime.progress import say_line
from shardwright.cli.main import OK

if TYPE_CHECKING:
    import optuna


def run(words: Sequence[str]) -> int:
    """Run `shardwright tune` and return its exit code: 0 the study has its trials, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright tune",
        description="Trains with values out of ranges, beside data/, and says which gave the best validation score; "
        "the test split is not looked at. When it was stopped, it goes on. It needs optuna: pip install optuna.",
    )
    add_option(
        parser,
        "a param with a range, or a value for all trials: train.learning_rate='log(1e-4, 1e-2)', "
        "train.width='int(32, 128)', train.dropout='uniform(0, 0.5)', train.fusion='choice(mean, gated)'",
    )
    parser.add_argument("--file", metavar="FILE", type=Path, help="a YAML mapping of such params, besides those of -S")
    parser.add_argument("--trials", type=int, default=20, help="that the study has at its end (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the values (default: 0)")
    parser.add_argument("--study", metavar="NAME", default="study", help="default: study")
    options = parser.parse_args(words)
    return run_verb(lambda: _tune(options))


def _tune(options: argparse.Namespace) -> int:
    params = {} if options.file is None else read_params(options.file)
    space, fixed = split_ranges({**params, **parse_changes(options.changes)})
    search = Search(Path.cwd(), space, fixed, options.study, options.trials, options.seed)
    write_lines(describe_best(search_params(search, say_line), search))
    return OK


def describe_best(study: "optuna.study.Study", search: Search) -> Iterator[str]:
    """Yield the best trial, the change of `params.yaml` to its values, and the command that runs them."""
    best = study.best_trial
    failed = sum(trial.value is None for trial in study.trials)
    yield (
        f"best of {len(study.trials)} trials{f', of which {failed} failed' if failed else ''}: trial {best.number}, "
        f"validation {best.user_attrs[OBJECTIVE]} {abs(best.value or 0):.4f}"
    )
    values = {**search.fixed, **read_values(best, search)}
    before = (search.project / PARAMS).read_text(encoding="utf-8")
    after = before
    for name, value in values.items():
        after = set_value(after, name.split("."), value)
    names = (f"a/{PARAMS}", f"b/{PARAMS}")
    yield from (
        line.rstrip("\n") for line in difflib.unified_diff(before.splitlines(True), after.splitlines(True), *names, n=1)
    )
    blocks = read_params(search.project / PARAMS)
    changes = [f"{'' if has_key(blocks, name) else '+'}{name}={json.dumps(value)}" for name, value in values.items()]
    yield f"dvc exp run {' '.join(f'-S {quote(change)}' for change in changes)}"


def has_key(blocks: Mapping[str, Any], name: str) -> bool:
    """Return whether a params file spells a key; DVC wants a `+` before one that it adds."""
    found: Any = blocks
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def read_values(trial: "optuna.trial.FrozenTrial", search: Search) -> Mapping[str, Any]:
    """Return the values of a trial by the full names of params."""
    import optuna

    fixed = optuna.trial.FixedTrial(trial.params)
    return {name: found.suggest(fixed, name) for name, found in search.space.items()}  # type: ignore[arg-type]
