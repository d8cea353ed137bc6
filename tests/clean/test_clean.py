"""clean keeps every item or drops it with a reason, stores rewritten bytes, marks duplicates, and reuses its cache."""

import hashlib
import random
import re
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.clean.check_entry import VERDICT
from pipeline.clean.cleaned_table import find_clusters
from pipeline.clean.cleaned_tars import MAX_BYTES, MAX_ITEMS, plan_tars
from pipeline.clean.findings import Findings
from pipeline.clean.params import CleanParams, Nearness
from pipeline.clean.step import clean
from pipeline.config.check_params import check_block, read_effective_params
from pipeline.config.params import RunParams
from pipeline.errors import InputError, ParamsError, TooManyDrops
from pipeline.incremental.compute_chunk import MAX_ITEMS as CHUNK_ITEMS
from pipeline.incremental.compute_chunk import cut_chunks
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.published_tar import reuse_tar
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import TarReader, TarStore, read_location
from pipeline.tables.columns import Row
from pipeline.tables.contracts import CLEANED, DROPPED, ITEMS, MODALITIES
from pipeline.tables.drops import Outcome
from pipeline.tables.table_files import read_table, write_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TYPES = {"png": ("image", "image/png"), "jpg": ("image", "image/jpeg"), "wav": ("audio", "audio/wav"),
         "txt": ("text", "text/plain")}  # fmt: skip


def make_params(**changes: Any) -> CleanParams:
    """Return the block of params.yaml, with `key=value` changed."""
    block = read_effective_params(ROOT / "params.yaml")["clean"]
    return check_block({"clean": {**block, **changes}}, "clean", CleanParams)


def draw_image(seed: int, size: int = 48) -> "np.ndarray[Any, Any]":
    """Draw a few soft blobs, as different from those of another seed as real images are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    grey = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.03) * c for a, b, c in rng.random((6, 3)))
    return np.repeat((255 * grey / grey.max()).astype(np.uint8)[:, :, None], 3, axis=2)


def encode_image(pixels: "np.ndarray[Any, Any]", ending: str, *options: int) -> bytes:
    import cv2

    done, data = cv2.imencode(f".{ending}", pixels, options)
    assert done
    return bytes(data)


def make_audio(seed: int, level: float = 0.5) -> bytes:
    """Return half a second of a few tones that rise and fade, as WAV."""
    import soundfile

    rng = np.random.default_rng(seed)
    time = np.arange(4000) / 8000
    tones = [np.sin(2 * np.pi * f * time) * np.exp(-(((time - at) / 0.1) ** 2)) for f, at in
             zip(rng.uniform(200, 3500, 8), rng.uniform(0, 0.5, 8), strict=True)]  # fmt: skip
    file = BytesIO()
    soundfile.write(file, level * sum(tones) / 8, 8000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def make_things(count: int) -> dict[str, bytes]:
    files = {}
    for number in range(count):
        files[f"{number:03d}.png"] = encode_image(draw_image(number), "png")
        files[f"{number:03d}.wav"] = make_audio(number)
        files[f"{number:03d}.txt"] = f"The {number}th thing of {number * 7919} others.".encode()
    return files


def ingest_files(folder: Path, files: Mapping[str, bytes]) -> Workspace:
    """Return a workspace whose `2_ingested` holds `files`; their extensions give their types."""
    rows: list[Row] = []
    with TarStore(folder / "data/2_ingested", "2_ingested", "items") as store:
        for name, data in sorted(files.items()):
            modality, media_type = TYPES[name.rpartition(".")[2]]
            location = store.write(name, data)
            row: Row = {**dict.fromkeys(ITEMS), "source": "folder", "file": name, "part": "", "modality": modality}
            row |= {"media_type": media_type, "sha256": hashlib.sha256(data).hexdigest()}
            row |= {"tar": location.tar, "offset": location.offset, "size": location.size}
            row["id"] = hashlib.sha256(f"{row['sha256']}\0{name}".encode()).hexdigest()
            rows.append(row)
    write_table(folder / "data/2_ingested/items", sorted(rows, key=lambda row: str(row["id"])), ITEMS)
    return open_workspace(folder, "work", workers=0)


def open_workspace(folder: Path, work: str, workers: int) -> Workspace:
    run = RunParams(workers=workers, memory="2 GiB", cache=str(folder / "cache"), progress=False)
    return Workspace(folder / "data", folder / work, folder / "cache", run)


def read_cleaned(workspace: Workspace) -> dict[str, Row]:
    """Return the cleaned rows by file, with the columns of the ingested ones; clusters as ids of their first items."""
    rows, items = read_table(workspace.work / "3_cleaned/items", CLEANED), read_ingested(workspace)
    assert [row["item"] for row in rows] == sorted(row["item"] for row in rows)
    for row in rows:
        row |= {column: items[row[column]]["id"] for column in ("exact_cluster", "near_cluster")}
    return {items[row["item"]]["file"]: items[row["item"]] | row for row in rows}


def read_ingested(workspace: Workspace) -> list[Row]:
    return read_table(workspace.data / "2_ingested/items", ITEMS)


def read_reasons(workspace: Workspace) -> dict[str, str]:
    rows = read_table(workspace.work / "3_cleaned/dropped", DROPPED)
    assert {(row["stage"], row["unit"]) for row in rows} <= {("clean", "item")}
    return {row["key"]: row["reason"] for row in rows}


def read_bytes(workspace: Workspace, row: Row) -> bytes:
    root = workspace.work if row["tar"].startswith("3_cleaned/") else workspace.data
    with TarReader(root) as reader:
        return reader.read(read_location(row))


def run_clean(workspace: Workspace, **changes: Any) -> Outcome:
    outcome = clean(make_params(**changes), workspace)
    outcome.check()
    return outcome


def test_every_item_is_kept_or_dropped_with_its_reason(tmp_path: Path) -> None:
    files = make_things(4)
    files |= {
        "cut.png": files["000.png"][:-30],
        "flat.png": encode_image(np.full((40, 40, 3), 200, np.uint8), "png"),
        "tiny.jpg": encode_image(draw_image(1, 4), "jpg"),
        "broken.jpg": b"\xff\xd8\xff\xe0 and nothing that follows",
        "silent.wav": make_audio(1, level=0.0),
        "cut.wav": files["000.wav"][:2000],
        "blank.txt": b" \n ",
    }
    workspace = ingest_files(tmp_path, files)
    outcome = run_clean(workspace, max_dropped=0.5)
    kept, reasons = read_cleaned(workspace), read_reasons(workspace)
    assert outcome.seen == len(files)
    assert outcome.kept == len(kept) == 12
    assert {f"folder:{name}" for name in files} == {f"folder:{name}" for name in kept} | set(reasons)
    assert reasons["folder:cut.png"] == reasons["folder:cut.wav"] == "truncated"
    assert reasons["folder:flat.png"] == "flat"
    assert reasons["folder:tiny.jpg"] == "too_small"
    assert reasons["folder:broken.jpg"] in ("broken", "truncated")
    assert reasons["folder:silent.wav"] == "silent"
    assert reasons["folder:blank.txt"] == "empty"
    assert (kept["000.png"]["width"], kept["000.png"]["orientation"], kept["000.png"]["frames"]) == (48, 1, None)
    assert (kept["000.wav"]["sample_rate"], kept["000.wav"]["frames"], kept["000.wav"]["width"]) == (8000, 4000, None)
    assert kept["000.txt"]["characters"] == len(files["000.txt"])


def test_rewritten_bytes_are_stored_and_others_stay(tmp_path: Path) -> None:
    files = make_things(2) | {"mail.txt": b"Write to owl@example.org or call +1 555 010 0199 today."}
    workspace = ingest_files(tmp_path, files)
    outcome = run_clean(workspace)
    rows = read_cleaned(workspace)
    for name, row in rows.items():
        data = read_bytes(workspace, row)
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        assert (data == files[name]) == row["tar"].startswith("2_ingested/")
    mail = read_bytes(workspace, rows["mail.txt"])
    assert (rows["mail.txt"]["redactions"], mail) == (2, b"Write to [EMAIL] or call [PHONE] today.")
    assert any("2 passages redacted" in note for note in outcome.notes)
    left = b"".join(path.read_bytes() for path in (workspace.work / "3_cleaned").rglob("*") if path.is_file())
    assert b"owl@example" not in left


def test_duplicates_are_marked_and_none_is_dropped(tmp_path: Path) -> None:
    files = make_things(6)
    image = draw_image(0, 96)
    files |= {
        "copy.png": files["000.png"],
        "resized.jpg": encode_image(image, "jpg"),
        "copy.wav": files["001.wav"],
        "louder.wav": make_audio(1, level=0.55),
        "copy.txt": files["002.txt"],
        "shouted.txt": files["002.txt"].upper(),
    }
    workspace = ingest_files(tmp_path, files)
    assert not run_clean(workspace).dropped.total
    rows = read_cleaned(workspace)
    for column, groups in (
        ("exact_cluster", [("000.png", "copy.png"), ("001.wav", "copy.wav"), ("002.txt", "copy.txt")]),
        ("near_cluster", [("000.png", "copy.png", "resized.jpg"), ("001.wav", "copy.wav", "louder.wav"),
                          ("002.txt", "copy.txt", "shouted.txt")]),
    ):  # fmt: skip
        expected = {name: min(rows[other]["id"] for other in group) for group in groups for name in group}
        assert {name: row[column] for name, row in rows.items()} == {
            name: expected.get(name, row["id"]) for name, row in rows.items()
        }


def hash_folder(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    texts = {f"{n:04d}.txt": f"The {n}th  thing, from a{n}@example.org.".encode() for n in range(2 * MAX_ITEMS)}
    workspace = ingest_files(tmp_path, make_things(3) | texts)
    run_clean(workspace)
    beside = replace(open_workspace(tmp_path, "beside", workers=2), cache=tmp_path / "another cache")
    run_clean(beside)
    alone = hash_folder(workspace.work / "3_cleaned")
    assert alone == hash_folder(beside.work / "3_cleaned")
    assert [name for name in alone if name.endswith(".tar")] == [f"cleaned-{n:06d}.tar" for n in range(2)]


def test_damaged_bytes_stop_the_run(tmp_path: Path) -> None:
    workspace = ingest_files(tmp_path, make_things(2))
    tar = tmp_path / "data/2_ingested/items-000000.tar"
    content = bytearray(tar.read_bytes())
    content[600] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError, match=r"items-000000\.tar is damaged at folder:000\.png"):
        clean(make_params(), workspace)


def test_too_many_drops_stop_the_run(tmp_path: Path) -> None:
    workspace = ingest_files(tmp_path, {"a.txt": b"a thing", "b.txt": b"", "c.txt": b" "})
    with pytest.raises(TooManyDrops, match=r"clean\.max_dropped is 0\.5, but 2 of 3 items .*: 2 empty"):
        clean(make_params(), workspace)


def test_no_items_give_an_empty_table(tmp_path: Path) -> None:
    workspace = ingest_files(tmp_path, {})
    assert run_clean(workspace).seen == 0
    assert read_cleaned(workspace) == {}


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ParamsError, match=r"clean\.max_droped is not a known key; did you mean max_dropped\?"):
        make_params(max_droped=0.1)


def test_every_modality_has_its_params() -> None:
    params = make_params()
    assert tuple(params.checks) == tuple(params.nearness) == MODALITIES


@given(st.lists(st.integers(0, MAX_BYTES + 10), max_size=20), st.integers(0, 600))
def test_chunks_are_bounded_and_cover_all_rows_in_order(sizes: list[int], small: int) -> None:
    items = np.array([*sizes, *[1] * small], np.int64)
    chunks = cut_chunks(items, MAX_BYTES)
    assert [number for chunk in chunks for number in range(chunk.start, chunk.stop)] == list(range(len(items)))
    for chunk in chunks:
        assert 1 <= chunk.stop - chunk.start <= CHUNK_ITEMS
        assert chunk.stop - chunk.start == 1 or items[chunk].sum() <= MAX_BYTES


@given(
    items=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, MAX_BYTES // 3)), max_size=60), data=st.data()
)
def test_tars_are_planned_by_ids_and_hold_each_changed_item_once(
    items: list[tuple[bool, bool, int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    findings = Findings(tmp_path_factory.mktemp("findings"), len(items))
    findings.kept[:] = [kept for kept, _, _ in items]
    findings.verdicts["rewritten"] = [rewritten for _, rewritten, _ in items]
    findings.verdicts["size"] = [size for _, _, size in items]
    ids = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(items), max_size=len(items)))
    prefixes = np.array(sorted(ids), np.uint64)
    plan = plan_tars(findings, prefixes)
    changed = [at for at, (kept, rewritten, _) in enumerate(items) if kept and rewritten]
    assert plan.items.tolist() == changed
    ends: dict[int, int] = {}
    for at, tar, offset in zip(changed, plan.tars.tolist(), plan.offsets.tolist(), strict=True):
        assert offset == ends.get(tar, 0) + 512
        ends[tar] = offset + items[at][2] + -items[at][2] % 512
    assert [int(plan.tars[start]) for start in plan.starts[:-1]] == sorted(ends)
    total, count = sum(items[at][2] for at in changed), 1
    while count * MAX_BYTES < total:
        count *= 2
    assert plan.tars.tolist() == [int(prefixes[at]) * count >> 64 for at in changed]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=40))
def test_exact_duplicates_are_near_whatever_their_hashes(items: list[tuple[int, int]]) -> None:
    bits = np.array([(2**20 - 1) << (21 * look) for _, look in items], np.uint64)
    sha256s = np.array([hashlib.sha256(bytes([content])).digest() for content, _ in items], "S32")
    clusters = find_clusters(sha256s, bits, np.empty((len(items), 0), np.uint8), Nearness(3, 0.0))
    contents = [content for content, _ in items]
    assert clusters.exact.tolist() == [contents.index(content) for content in contents]
    for one in range(len(items)):
        assert clusters.near[one] <= one
        for other in range(one):
            if items[one][0] == items[other][0] or items[one][1] == items[other][1]:
                assert clusters.near[one] == clusters.near[other]


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
    assert len(rows.entries) == 2, "two items have the same bytes"
    assert rows.records.shape == (2, VERDICT.itemsize)
    assert reuse_tar(objects, "0" * 32 + ".tar", beside) is None
    damaged = bytearray(path.read_bytes())
    damaged[5] ^= 1
    objects.find_path(name).unlink()
    objects.find_path(name).write_bytes(damaged)
    assert reuse_tar(objects, name, tmp_path / "damaged.tar") is None
    assert not (tmp_path / "damaged.tar").exists()
    with tarfile.open(path) as tar:
        assert len(set(tar.getnames())) == 3
