"""`verify` reports damage anywhere, reading reports it where it is read; the verbs of the command."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import (
    DamageError,
    Field,
    FileRecord,
    Manifest,
    Problem,
    ShardDataset,
    ShardwrightError,
    ShardWriter,
    Source,
    read_manifest,
    verify,
    write_manifest,
    write_shard,
    write_split,
)
from shardwright.cli.main import VERBS, main, run_verb
from shardwright.cli.terminal import escape_controls
from shardwright.format.index import write_index
from shardwright.format.walk_shard import MAX_DAMAGES, hash_file
from tests.support.old_sets import make_old
from tests.support.shard_samples import KINDS, SMALL_FIELDS, find_member, make_samples, write_small

pytestmark = pytest.mark.slow

ROOT_NAME = "ROOT"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits of 6 samples a shard, with a vocabulary; read-only."""
    return write_set(tmp_path_factory.mktemp("intact"), SMALL_FIELDS)


def write_set(root: Path, fields: Mapping[str, Field]) -> Path:
    write_small(root, 20, fields=fields)
    write_small(root, 6, split="val", fields=fields)
    (root / "vocabulary.txt").write_text("a\nb\n")
    record = FileRecord("vocabulary.txt", hash_file(root / "vocabulary.txt"))
    sources = (Source("demo", "CC0-1.0", "nobody", 26),)
    write_manifest(root, replace(read_manifest(root), vocabulary=record, sources=sources))
    return root


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def flip_bit(path: Path, position: int, bit: int = 0) -> Path:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
    return path


def test_an_intact_dataset_is_ok(intact: Path) -> None:
    report = verify(intact)
    assert report.ok
    assert (report.shards, report.samples) == (5, 26)
    assert report.bytes == sum(path.stat().st_size for path in intact.rglob("*.tar"))
    assert report.hash == read_manifest(intact).hash


@pytest.fixture(scope="module", params=[*KINDS, *(f"old {kind}" for kind in KINDS)])
def scratch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set to damage in one place and to repair, many times."""
    root = write_set(tmp_path_factory.mktemp("scratch"), KINDS[request.param.removeprefix("old ")])
    return make_old(root) if request.param.startswith("old ") else root


@given(data=st.data())
@settings(max_examples=40)
def test_one_flipped_bit_anywhere_is_found(scratch: Path, data: st.DataObject) -> None:
    files = sorted(path for path in scratch.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    try:
        flip_bit(path, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7)))
        report = verify(scratch)
    finally:
        path.write_bytes(content)
    assert not report.ok
    assert {problem.shard for problem in report.problems} == {str(path.relative_to(scratch))}


@given(st.integers(0, 5), st.integers(0, len(SMALL_FIELDS)), st.data())
@settings(max_examples=25)
def test_a_flipped_bit_in_a_member_is_named_when_it_is_read(
    scratch: Path, sample: int, member: int, data: st.DataObject
) -> None:
    manifest = read_manifest(scratch)
    shard, key = manifest.splits["train"].shards[1], f"train-{6 + sample:03d}"
    path = scratch / "train" / shard.name
    suffix = [*(f"{name}.{field.suffix}" for name, field in manifest.fields.items()), "meta.json"][member]
    start, size = find_member(path, f"{key}.{suffix}")
    content = path.read_bytes()
    try:
        position = start + data.draw(st.integers(0, size - 1))
        flip_bit(path, position, data.draw(st.integers(0, 7)))
        with ShardDataset(scratch, "train") as damaged, pytest.raises(DamageError) as caught:
            damaged.meta(6 + sample) if member == len(SMALL_FIELDS) else damaged.gather(range(20))
        report = verify(scratch)
    finally:
        path.write_bytes(content)
    field = [*SMALL_FIELDS, "meta"][member]
    error = caught.value
    assert (error.shard, error.sample, error.field, error.offset) == (shard.name, key, field, start)
    assert [(problem.shard, problem.sample) for problem in report.problems] == [(f"train/{shard.name}", key)]
    assert report.problems[0].what.startswith(field)


@dataclass(frozen=True)
class Fault:
    """A fault of a dataset: its cause, the problems that `verify` reports, and whether the dataset still opens."""

    cause: Callable[[Path], object]
    problems: list[tuple[str, str | None, str]]
    opens: bool = False


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def swap(one: Path, other: Path) -> None:
    aside = rename(one, "aside")
    other.rename(one)
    aside.rename(other)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


STRIDE = 4 * 512 + 512 + 512 + 512 + 512  # a header and one block for each of the four members, see SMALL_FIELDS
INDEX = "train/train-000001.index.npy"
FIRST, SECOND, LAST = "train/train-000000.tar", "train/train-000001.tar", "train/train-000003.tar"
FAULTS = {
    "missing shard": Fault(lambda r: (r / SECOND).unlink(), [(SECOND, None, "missing")]),
    "renamed shard": Fault(
        lambda r: rename(r / SECOND, "other.tar"),
        [(SECOND, None, "missing"), ("train/other.tar", None, f"holds the bytes of {SECOND}")],
    ),
    "swapped shards": Fault(
        lambda r: swap(r / FIRST, r / SECOND),
        [(FIRST, None, f"holds the bytes of {SECOND}"), (SECOND, None, f"holds the bytes of {FIRST}")],
        opens=True,
    ),
    "shard copied over another": Fault(
        lambda r: shutil.copy(r / FIRST, r / SECOND), [(SECOND, None, f"holds the bytes of {FIRST}")], opens=True
    ),
    "shard of another split": Fault(
        lambda r: shutil.copy(r / "val/val-000000.tar", r / FIRST),
        [(FIRST, None, "holds the bytes of val/val-000000.tar")],
        opens=True,
    ),
    "extra shard": Fault(
        lambda r: shutil.copy(r / FIRST, r / "train/train-000004.tar"),
        [("train/train-000004.tar", None, f"not in the manifest, holds the bytes of {FIRST}")],
        opens=True,
    ),
    "unlisted split": Fault(
        lambda r: shutil.copytree(r / "val", r / "test"),
        [("test/", None, "a split that the manifest does not list")],
        opens=True,
    ),
    "shard cut between two samples": Fault(
        lambda r: cut(r / SECOND, 2 * STRIDE), [(SECOND, "train-008", "the shard ends here")]
    ),
    "shard cut in a sample": Fault(
        lambda r: cut(r / SECOND, 2 * STRIDE + 700), [(SECOND, "train-008", "the shard ends here")]
    ),
    "shard without its end": Fault(
        lambda r: cut(r / LAST, 2 * STRIDE + 512), [(LAST, None, "does not end with two zero blocks")]
    ),
    "shard with more behind it": Fault(lambda r: append(r / LAST, b"more"), [(LAST, None, "bytes follow the end")]),
    "missing index": Fault(
        lambda r: (r / INDEX).unlink(), [(INDEX, None, "missing; it is the index of train-000001.tar")], opens=True
    ),
    "cut index": Fault(lambda r: cut(r / INDEX, 500), [(INDEX, None, "the manifest says")], opens=True),
    "longer index": Fault(lambda r: append(r / INDEX, b"x"), [(INDEX, None, "not the rows")], opens=True),
    "folder instead of an index": Fault(lambda r: put_folder(r / INDEX), [(INDEX, None, "missing")], opens=True),
    "extra index": Fault(
        lambda r: shutil.copy(r / INDEX, r / "train/index.npy"),
        [("train/index.npy", None, "not in the manifest")],
        opens=True,
    ),
    "damage in index and shard": Fault(
        lambda r: [flip_bit(r / name, 600) for name in (INDEX, SECOND)],
        [(INDEX, None, "the manifest says"), (SECOND, None, "the manifest says")],
        opens=True,
    ),
    "one damaged index of an older split": Fault(
        lambda r: flip_bit(make_old(r) / "train/index.npy", 600), [("train/index.npy", None, "the manifest says")]
    ),
    "missing vocabulary": Fault(
        lambda r: (r / "vocabulary.txt").unlink(), [("vocabulary.txt", None, "missing")], opens=True
    ),
    "edited vocabulary": Fault(
        lambda r: append(r / "vocabulary.txt", b"c\n"), [("vocabulary.txt", None, "the manifest says")], opens=True
    ),
    "missing manifest": Fault(lambda r: (r / "dataset.json").unlink(), [("dataset.json", None, "missing")]),
    "edited manifest": Fault(
        lambda r: edit(r / "dataset.json", "HWC", "CHW"),
        [("dataset.json", None, "that of its content is")],
    ),
    "edited licence": Fault(
        lambda r: edit(r / "dataset.json", "CC0-1.0", "CC0-2.0"),
        [("dataset.json", None, "sources_hash is")],
    ),
    "manifest formatted otherwise": Fault(
        lambda r: edit(r / "dataset.json", "\n", "\n "),
        [("dataset.json", None, "not formatted as it was written")],
        opens=True,
    ),
    "pipe instead of a shard": Fault(lambda r: put_pipe(r / SECOND), [(SECOND, None, "cannot be read: not a file")]),
    "cut manifest": Fault(lambda r: cut(r / "dataset.json", 300), [("dataset.json", None, "not readable as JSON")]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported(root: Path, name: str) -> None:
    fault = FAULTS[name]
    fault.cause(root)
    found = verify(root).problems
    assert len(found) == len(fault.problems)
    for problem, (shard, sample, what) in zip(found, fault.problems, strict=True):
        assert (problem.shard, problem.sample) == (shard, sample)
        assert what in problem.what
    if fault.opens:
        ShardDataset(root, "train").close()
    else:
        with pytest.raises((ShardwrightError, FileNotFoundError)):
            ShardDataset(root, "train")


@pytest.mark.parametrize("name", ["swapped shards", "shard copied over another", "shard of another split"])
def test_reading_detects_a_shard_that_replaces_another(root: Path, name: str) -> None:
    FAULTS[name].cause(root)
    with ShardDataset(root, "train") as data, pytest.raises(DamageError):
        data.gather(range(len(data)))


@pytest.mark.parametrize("old", [False, True])
def test_repeated_keys_are_reported_with_the_last_index_that_has_them(tmp_path: Path, old: bool) -> None:
    """Nothing of this package writes such a set: its splits were joined by hand, with the right hashes."""
    samples = make_samples(4)
    folder = tmp_path / "train"
    folder.mkdir()
    parts = [samples[:3], samples[3:], samples[1:2]]
    written = [write_shard(folder / f"{n}.tar", SMALL_FIELDS, part) for n, part in enumerate(parts)]
    split = write_split(folder, SMALL_FIELDS, written[:2])
    sha256 = write_index(folder / written[2].record.index_name, written[2].index)
    joined = replace(split, shards=(*split.shards, replace(written[2].record, index_sha256=sha256)))
    write_manifest(tmp_path, Manifest(SMALL_FIELDS, {"train": joined}))
    if old:
        make_old(tmp_path)
    found = [(problem.shard, problem.sample, problem.what) for problem in verify(tmp_path).problems]
    index = "train/index.npy" if old else "train/2.index.npy"
    assert found == [(index, samples[1].key, "several samples have this key")]


def test_many_damages_are_counted(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", {"n": Field("int64", ())}) as writer:
        for n in range(MAX_DAMAGES + 20):
            writer.write(str(n), {"n": n})
    path = tmp_path / "train" / "train-000000.tar"
    content = np.fromfile(path, np.uint8)
    content[640:-1024:2048] ^= 1
    content.tofile(path)
    problems = verify(tmp_path).problems
    assert [problem.sample for problem in problems[:-1]] == [str(n) for n in range(MAX_DAMAGES)]
    assert problems[-1] == Problem("train/train-000000.tar", None, "20 more damages")


def test_verify_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        verify(tmp_path / "nowhere")


def test_verify_prints_ok_or_the_problems(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(root)]) == 0
    assert capsys.readouterr().out.startswith("ok: 26 samples in 5 shards")
    flip_bit(root / SECOND, 700)
    assert main(["verify", str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{SECOND}: train-006: image.npy: its crc32 is")
    assert lines[1].startswith("1 problem: ")


def test_info_ls_and_show(intact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(intact)]) == 0
    output = capsys.readouterr().out
    for text in (read_manifest(intact).hash, "train: 20 samples in 4 shards", "mfcc: float32 (4, 6), CT"):
        assert text in output
    assert main(["ls", str(intact)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[6]) == (26, "train/train-000001.tar/train-006")
    assert main(["ls", str(intact), "--split", "val"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert main(["show", str(intact), "val-003"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("val/val-000000.tar/val-003\nimage: uint8 (5, 7, 3), min ")
    assert '"n": 3' in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "ROOT/nowhere"], "nowhere/dataset.json: missing; give the folder of a dataset"),
        (["verify", "ROOT/nowhere"], "is not a folder"),
        (["show", "ROOT", "nobody"], "no split has a sample 'nobody'"),
        (["ls", "ROOT", "--split", "test"], "no split 'test'"),
        (["weigh", "ROOT"], "unknown verb 'weigh'"),
        (["index", "ROOT/nowhere"], "nowhere"),
        (["bench", "ROOT", "--batch-size", "0"], "batch_size"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    intact: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main([word.replace(ROOT_NAME, str(intact)) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify"], "ROOT"),
        (["info", "s3://user:key@bucket/set"], "ROOT: s3://bucket/set is a URL; it must be a folder"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_lists_all_verbs_and_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for word, shown in (("--help", [*VERBS, "why", "diff"]), ("--version", ["shardwright 0."])):
        with pytest.raises(SystemExit) as caught:
            main([word])
        assert caught.value.code == 0
        output = capsys.readouterr().out
        assert all(text in output for text in shown)


def test_verbs_of_other_packages_are_found_by_entry_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "added_verbs.py").write_text("def run(words):\n    print('ran', *words)\n    return 7\n")
    metadata = tmp_path / "added-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: added\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[shardwright.commands]\nadded = added_verbs:run\nlost = not_installed.anywhere:run\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        assert main(["added", "a", "--b"]) == 7
        assert capsys.readouterr().out == "ran a --b\n"
        assert main(["lost"]) == 2
        assert "not_installed, which is not installed" in capsys.readouterr().err
    finally:
        sys.path.remove(str(tmp_path))


def test_control_sequences_in_data_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ShardWriter(tmp_path, "train", {"n": Field("int64", ())}, classes=["\x1b[2J\n"]) as writer:
        writer.write("a", {"n": 1}, {"caption": "\x9b31m \u202e back"})
    assert main(["info", str(tmp_path)]) == 0
    assert main(["show", str(tmp_path), "a"]) == 0
    output = capsys.readouterr().out
    assert all(character == "\n" or character.isprintable() for character in output)
    assert escape_controls("é\x1b\n") == "é\\x1b\\n"


@pytest.mark.parametrize(
    ("words", "line"), [(f"ls {ROOT_NAME}", "train/train-000000.tar/train-000\n"), ("--help", None), ("ls -h", None)]
)
def test_output_that_is_piped_into_head_is_no_error(intact: Path, words: str, line: str | None) -> None:
    code = "import sys; from shardwright.cli.main import main; sys.exit(main())"
    command = f"{sys.executable} -c '{code}' {words.replace(ROOT_NAME, str(intact))} | head -n 1"
    checkout = Path(__file__).parents[2]
    run = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=checkout)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == line or (line is None and run.stdout.startswith("usage: shardwright"))


def test_output_to_a_closed_pipe_is_no_error(intact: Path) -> None:
    code = "import sys; from shardwright.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for words in (["--help"], ["ls", str(intact)], ["info", str(intact)], ["verify", str(intact)]):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-c", code, *words]
        run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
        os.close(writer)
        assert (run.returncode, run.stderr) == (0, b""), words


def test_an_interrupt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> int:
        raise KeyboardInterrupt

    assert run_verb(stop) == 130
    assert capsys.readouterr().err == "shardwright: interrupted\n"


def test_images_are_written_as_png_files_with_the_same_pixels(tmp_path: Path) -> None:
    import cv2

    samples = write_small(tmp_path, 3)
    assert main(["show", str(tmp_path), samples[1].key, "--png", str(tmp_path / "images")]) == 0
    (path,) = (tmp_path / "images").iterdir()
    pixels = cv2.imread(str(path))
    assert pixels is not None
    np.testing.assert_array_equal(pixels[:, :, ::-1], samples[1].arrays["image"])


def test_several_images_are_written_without_the_padding(tmp_path: Path) -> None:
    view = Field("uint8", (3, 4, 5, 3), axes="NHWC")
    with ShardWriter(tmp_path, "train", {"view": view, "view_count": Field("int32", ())}) as writer:
        writer.write("a", {"view": np.zeros((3, 4, 5, 3), np.uint8), "view_count": 2})
    assert main(["show", str(tmp_path), "a", "--png", str(tmp_path / "images")]) == 0
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a.view.0.png", "a.view.1.png"]


def test_bench_reports_the_rate_of_each_way_to_read_and_the_bottleneck(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_small(tmp_path, 20)
    assert main(["bench", str(tmp_path), "--seconds", "0", "--batch-size", "4"]) == 0
    output = capsys.readouterr().out
    assert all(f"threads={count}" in output for count in (0, 1, 2))
    assert "read(), again" in output
    assert "does not wait for data" in output


def test_webdataset_tars_are_indexed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path / "set", 20)
    assert main(["index", str(tmp_path / "set" / "train"), "--cache", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out.startswith("20 samples in 4 shards")
    assert main(["index", str(tmp_path / "none"), "--cache", str(tmp_path / "cache")]) == 2
