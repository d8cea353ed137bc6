"""clean keeps every item or drops it with a reason, stores rewritten bytes, and marks duplicates."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.cleaned_table import find_clusters
from pipeline.clean.cleaned_tars import MAX_ITEMS
from pipeline.clean.params import Nearness
from pipeline.clean.step import clean
from pipeline.config.check_params import read_effective_params
from pipeline.errors import InputError, ParamsError, TooManyDrops
from pipeline.tables.contracts import MODALITIES
from tests.support.cleaning import (
    ROOT,
    draw_image,
    encode_image,
    hash_folder,
    ingest_files,
    make_audio,
    make_params,
    make_things,
    open_workspace,
    read_bytes,
    read_cleaned,
    read_reasons,
    run_clean,
)

pytestmark = pytest.mark.slow


def test_damaged_files_are_kept_with_their_flaw_where_the_params_say_so(tmp_path: Path) -> None:
    files = make_things(4)
    files["cut.jpg"] = encode_image(draw_image(7), "jpg")[:-80]
    files["cut.wav"] = files["001.wav"][:3044]
    keep = {**read_effective_params(ROOT / "params.yaml")["clean"]}
    workspace = ingest_files(tmp_path, files)
    outcome = run_clean(workspace, **{name: {**keep[name], "damaged": "keep"} for name in ("image", "audio")})
    kept = read_cleaned(workspace)
    assert outcome.kept == len(files)
    assert {name: row["flaw"] for name, row in kept.items() if row["flaw"]} == {
        "cut.jpg": "no end marker",
        "cut.wav": "fewer samples than declared",
    }
    assert (kept["cut.wav"]["frames"], kept["cut.wav"]["missing_frames"]) == (1500, 2500)
    assert any(note.endswith("; 1 with no end marker") for note in outcome.notes)


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
