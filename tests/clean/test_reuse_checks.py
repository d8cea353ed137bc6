"""clean checks new items alone, reuses its cache, and repairs what is damaged in it."""

import random
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.check_entry import VERDICT
from pipeline.config.check_params import read_effective_params
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.published_tar import reuse_tar
from pipeline.tables.drops import Outcome
from tests.support.cleaning import (
    TYPES,
    draw_image,
    encode_image,
    hash_folder,
    ingest_files,
    make_things,
    run_clean,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

FILES = make_things(5) | {
    "mail.txt": b"Ask owl@example.org.",
    "phone.txt": b"Call +1 555 010 0199.",
    "copy.txt": b"Ask owl@example.org.",
    "photo.jpg": encode_image(draw_image(7), "jpg"),
    "broken.png": b"\x89PNG but not really",
}
"""A few files of each modality: some are rewritten, one is broken, two have the same bytes."""

CONTENTS = [*FILES.values(), b"A new text from new@example.org.", encode_image(draw_image(8), "png")]
NAMES = [*FILES, "new.txt", "first.txt"]
CHANGES: list[dict[str, Any]] = [
    {},
    {"image": {"near_bits": 1}},
    {"text": {"redact": ["phone"]}},
    {"image": {"min_side": 40}},
]

Edit = tuple[str, bytes | None]
EDITS = st.tuples(st.sampled_from(NAMES), st.one_of(st.none(), st.sampled_from(CONTENTS)))


def read_counts(outcome: Outcome) -> tuple[int, int]:
    """Return how many checks were reused, and how many computed."""
    (line,) = (note for note in outcome.notes if note.startswith("checks: "))
    reused, computed = re.findall(r"\d+", line)
    return int(reused), int(computed)


def clean_files(folder: Path, files: Mapping[str, bytes], change: Mapping[str, Any]) -> Outcome:
    """Clean `files` in `folder`, which replace the files there; the cache stays."""
    for name in ("data", "work"):
        shutil.rmtree(folder / name, ignore_errors=True)
    block = read_effective_params(ROOT / "params.yaml")["clean"]
    return run_clean(ingest_files(folder, files), max_dropped=1.0, **{k: block[k] | v for k, v in change.items()})


Step = tuple[list[Edit], dict[str, Any]]


def apply_steps(folder: Path, steps: Sequence[Step]) -> None:
    """Edit files and params step by step: new items alone are checked, and the bytes are those of a first run."""
    files, seen = dict(FILES), set[tuple[str, bytes, str]]()
    for number, (edits, change) in enumerate([([], {}), *steps]):
        for name, content in edits:
            if content is None:
                files.pop(name, None)
            else:
                files[name] = content
        # A check depends on the bytes, the type, and the params of its modality that do not only concern duplicates.
        decisive = {kind: {k: v for k, v in values.items() if k != "near_bits"} for kind, values in change.items()}
        needed = {
            (TYPES[name[-3:]][1], data, str(decisive.get(TYPES[name[-3:]][0]) or "")) for name, data in files.items()
        }
        outcome = clean_files(folder / "kept", files, change)
        assert read_counts(outcome) == (len(needed & seen), len(needed - seen))
        seen |= needed
        clean_files(folder / f"anew-{number}", files, change)
        assert hash_folder(folder / "kept/work/3_cleaned") == hash_folder(folder / f"anew-{number}/work/3_cleaned")


def test_after_some_edits_only_new_items_are_checked(tmp_path: Path) -> None:
    draw = random.Random(0)
    changes = [*CHANGES[1:], {}, *draw.sample(CHANGES, 2)]
    apply_steps(
        tmp_path,
        [
            ([(draw.choice(NAMES), draw.choice([None, *draw.sample(CONTENTS, 3)])) for _ in range(3)], change)
            for change in changes
        ],
    )


@pytest.mark.sweep
@settings(max_examples=40)
@given(steps=st.lists(st.tuples(st.lists(EDITS, max_size=4), st.sampled_from(CHANGES)), min_size=1, max_size=4))
def test_after_any_edit_only_new_items_are_checked(steps: list[Step], tmp_path_factory: pytest.TempPathFactory) -> None:
    apply_steps(tmp_path_factory.mktemp("edits"), steps)


def test_a_run_with_nothing_new_writes_no_tar(tmp_path: Path) -> None:
    clean_files(tmp_path, FILES, {})
    before = (tmp_path / "work/3_cleaned/cleaned-000000.tar").stat().st_ino
    assert read_counts(clean_files(tmp_path, FILES, {})) == (len(FILES) - 1, 0)
    assert (tmp_path / "work/3_cleaned/cleaned-000000.tar").stat().st_ino == before
    sizes = {path.suffix: path.stat().st_size for path in (tmp_path / "cache/objects").iterdir()}
    assert set(sizes) == {"", ".tar", ".pack", ".rows"}, "one tar of bytes, one pack of verdicts"
    assert len(list((tmp_path / "cache/objects").glob("*.pack"))) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_cache_is_repaired(seed: int, tmp_path: Path) -> None:
    clean_files(tmp_path, FILES, {})
    expected, draw = hash_folder(tmp_path / "work/3_cleaned"), random.Random(seed)
    objects = sorted(path for path in (tmp_path / "cache/objects").iterdir() if path.name != ".lock")
    for path in draw.sample(objects, 2):
        content = bytearray(path.read_bytes())
        path.unlink()
        if draw.random() < 0.7:
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
    files = dict(FILES)
    if draw.random() < 0.5:
        files["another.txt"] = b"Ask another@example.org."  # another tar, from the cached bytes
        clean_files(tmp_path / "anew", files, {})
        expected = hash_folder(tmp_path / "anew/work/3_cleaned")
    clean_files(tmp_path, files, {})
    assert hash_folder(tmp_path / "work/3_cleaned") == expected
    assert read_counts(clean_files(tmp_path, files, {})) == (len(files) - 1, 0)


def test_a_damaged_tar_of_the_cache_is_not_used(tmp_path: Path) -> None:
    clean_files(tmp_path, FILES, {})
    objects, path = ObjectStore(tmp_path / "cache", tmp_path), tmp_path / "work/3_cleaned/cleaned-000000.tar"
    (name,) = (name for name in objects.list_names() if name.endswith(".tar"))
    beside = tmp_path / "beside.tar"
    rows = reuse_tar(objects, name, beside)
    assert rows is not None
    assert beside.stat().st_ino == path.stat().st_ino
    assert len(rows.entries) == 2
    assert rows.records.shape == (2, VERDICT.itemsize)
    assert reuse_tar(objects, "0" * 32 + ".tar", beside) is None
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 1
    objects.find_path(name).unlink()
    objects.find_path(name).write_bytes(damaged)
    assert reuse_tar(objects, name, tmp_path / "damaged.tar") is None
    assert not (tmp_path / "damaged.tar").exists()
    with tarfile.open(path) as tar:
        assert len(set(tar.getnames())) == 2, "two items share their bytes"
