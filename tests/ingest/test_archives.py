"""Archives give the items of the folder that they were made of, and refuse what a folder would not have."""

import errno
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError, ParamsError
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import TarEntry, list_tar_entries
from pipeline.formats.zip_entries import list_zip_entries, read_zip_entry
from pipeline.ingest.sources import containers, tar
from tests.support.archives import COMPRESS, make_tar, make_tar_of, make_zip
from tests.support.ingesting import Ingest, make_image, make_params, run_ingest, write_files

FILES = {
    "cat/a.png": make_image(1),
    "cat/a.txt": b"a cat",
    "dog/b.txt": b"a dog " * 200,
    "dog/same.txt": b"a cat",
    "d" * 120 + "/" + "e" * 90 + ".txt": b"a long name",
    "löwe.txt": "Löwe".encode(),
    "empty.txt": b"",
    "noise": b"\0\1\2",
}


def run_on(folder: Path, *sources: dict[str, str], **params: object) -> Ingest:
    return run_ingest(folder, make_params(sources=[*sources], **params))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    place = tmp_path_factory.mktemp("folder")
    write_files(place / "inbox", FILES)
    return run_ingest(place, make_params())


CONTENTS = {
    "stored.zip": make_zip(FILES, zipfile.ZIP_STORED),
    "deflated.zip": make_zip(FILES),
    "bzip2.zip": make_zip(FILES, zipfile.ZIP_BZIP2),
    "gnu.tar": make_tar(FILES, layout=tarfile.GNU_FORMAT),
    "dotted.tar": make_tar({f"./{name}": content for name, content in FILES.items()}),
    **{f"{name or 'plain'}.tar": make_tar(FILES, name) for name in COMPRESS},
}


@pytest.mark.parametrize("name", CONTENTS)
def test_an_archive_gives_the_bytes_of_its_folder(tmp_path: Path, name: str, folder: Ingest) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    result = run_on(tmp_path, {"kind": name.rpartition(".")[2], "path": str(tmp_path / name)})
    assert result.hash_files() == folder.hash_files()
    assert result.outcome.seen == len(FILES)


def test_the_root_may_be_an_archive(tmp_path: Path, folder: Ingest) -> None:
    (tmp_path / "files.tar.gz").write_bytes(CONTENTS["gz.tar"])
    assert run_ingest(tmp_path, make_params(root="files.tar.gz")).hash_files() == folder.hash_files()


def test_files_in_several_archives_are_one_source(tmp_path: Path, folder: Ingest) -> None:
    names = [*FILES]
    for number in range(3):
        part = {name: FILES[name] for name in names[number::3]}
        (tmp_path / f"part-{number}.tar").write_bytes(make_tar(part, "gz" if number else ""))
    result = run_on(tmp_path, {"kind": "tar", "path": str(tmp_path / "part-*.tar")})
    assert result.hash_files() == folder.hash_files()


def test_archives_in_a_folder_are_opened_and_those_in_archives_are_not(tmp_path: Path) -> None:
    inner = make_zip({"x.txt": b"x"})
    files = {"in/a.zip": make_zip({"b.txt": b"b", "c.zip": inner}), "d.TAR": make_tar({"e.txt": b"e"}), "f.txt": b"f"}
    write_files(tmp_path / "inbox", {**files, "no.zip": b"text", "none.tar": make_tar({}), "document.docx": inner})
    result = run_ingest(tmp_path, make_params())
    assert {row["file"] for row in result.rows} == {"in/a.zip/b.txt", "d.TAR/e.txt", "f.txt"}
    assert result.reasons == {
        "folder:in/a.zip/c.zip": "unsupported_type",
        "folder:no.zip": "unreadable",
        "folder:none.tar": "empty",
        "folder:document.docx": "unsupported_type",
    }
    assert result.outcome.seen == 7


def make_hostile_tar() -> bytes:
    names = ["/etc/passwd", "../canary", "a/../../canary", "fine.txt", "fine.txt"]
    members = [(tarfile.TarInfo(name), name.encode()) for name in names]
    for info, content in members:
        info.size = len(content)
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
    for kind in kinds:
        info = tarfile.TarInfo(f"kind {kind.decode()}")
        info.type, info.linkname = kind, "../canary"
        members.append((info, b""))
    sparse = tarfile.TarInfo("sparse")
    sparse.size = 5
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(60 << 30)}
    return make_tar_of(
        [*members, (sparse, b"xxxxx"), (tarfile.TarInfo("__MACOSX/x"), b""), (tarfile.TarInfo("z"), b"")]
    )


def test_members_that_are_no_files_or_lead_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.tar").write_bytes(make_hostile_tar())
    result = run_on(tmp_path, {"kind": "tar", "path": str(tmp_path / "in/x.tar")}, ignore=["__MACOSX"])
    assert result.reasons == {
        "folder:x.tar!/etc/passwd#0": "not_a_file",
        "folder:x.tar!../canary#1": "not_a_file",
        "folder:x.tar!a/../../canary#2": "not_a_file",
        "folder:x.tar!fine.txt#3": "duplicate",  # the last one replaces it, as when the archive is unpacked
        **{f"folder:x.tar!kind {kind}#{number}": "not_a_file" for number, kind in enumerate("21346", start=5)},
        "folder:x.tar!sparse#10": "not_a_file",
        "folder:z": "empty",
    }
    assert [row["file"] for row in result.rows] == ["fine.txt"]
    assert {part.key: part.count for part in result.parts} == {"folder:x.tar!__MACOSX": 1}
    assert not any("canary" in path.name or "passwd" in path.name for path in tmp_path.rglob("*"))


def test_an_old_sparse_member_is_skipped_with_its_map(tmp_path: Path) -> None:
    after = make_tar({"after.txt": b"after"})
    info = tarfile.TarInfo("sparse")
    info.type, info.size = b"S", 3
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    (tmp_path / "x.tar").write_bytes(bytes(block) + bytes(512) + b"abc".ljust(512, b"\0") + after)
    result = run_on(tmp_path, {"kind": "tar", "path": str(tmp_path / "x.tar")})
    assert result.reasons == {"folder:x.tar!sparse#0": "not_a_file"}
    assert result.read_texts() == {("after.txt", ""): "after"}


def test_members_of_zips_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "../canary")
        archive.writestr("../canary", "x")
        archive.writestr(zipfile.ZipInfo("folder/"), "")
        archive.writestr("secret", "x")
        archive.writestr("lzma", "x" * 99, zipfile.ZIP_LZMA)
        archive.writestr("fine.txt", "fine")
        archive.writestr("damaged.txt", "damaged")
    content = bytearray(buffer.getvalue())
    content[content.rindex(b"secret") - 46 + 8] |= 1
    content[content.index(b"damaged.txtdamaged") + 12] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    result = run_on(tmp_path, {"kind": "zip", "path": str(tmp_path / "x.zip")})
    assert result.reasons == {
        "folder:x.zip!link#0": "not_a_file",
        "folder:x.zip!../canary#1": "not_a_file",
        "folder:x.zip!secret#2": "unsupported_type",
        "folder:x.zip!lzma#3": "unsupported_type",
        "folder:damaged.txt": "unreadable",
    }
    assert [row["file"] for row in result.rows] == ["fine.txt"]


def test_archives_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    zeros = bytes(3000)
    (tmp_path / "x.zip").write_bytes(make_zip(dict.fromkeys("abcd", zeros)))
    (tmp_path / "y.tar").write_bytes(make_tar(dict.fromkeys("efgh", zeros), "gz"))
    sources = [{"kind": kind, "path": str(tmp_path / f"{file}.{kind}")} for kind, file in (("zip", "x"), ("tar", "y"))]
    with (
        patch.object(containers, "LEAST_TOTAL_BYTES", 7000),
        patch.object(tar, "LEAST_TOTAL_BYTES", 7000),
        patch.object(containers, "MAX_RATIO", 1),
        patch.object(tar, "MAX_RATIO", 1),
    ):
        result = run_on(tmp_path, *sources, max_dropped=1.0)
    too_large = {key for key, reason in result.reasons.items() if reason == "too_large"}
    assert {"folder:x.zip!c#2", "folder:x.zip!d#3", "folder:y.tar"} <= too_large
    spooled = [path.stat().st_size for path in (result.data / "spool").iterdir()]
    assert max(spooled) <= 7000


def change_directory(content: bytes, name: str, size: int) -> bytes:
    """A zip whose directory states another size for a member."""
    changed = bytearray(content)
    place = content.rindex(name.encode()) - 46
    struct.pack_into("<I", changed, place + 24, size)
    return bytes(changed)


def test_a_member_that_lies_about_its_size_is_not_unpacked(tmp_path: Path) -> None:
    bomb = change_directory(make_zip({"bomb.txt": bytes(50 << 20)}), "bomb.txt", 10)
    (tmp_path / "x.zip").write_bytes(bomb)
    result = run_on(tmp_path, {"kind": "zip", "path": str(tmp_path / "x.zip")}, max_dropped=1.0)
    assert result.reasons == {"folder:bomb.txt": "unreadable"}


SMALL = {"a.txt": b"first", "b.txt": b"second" * 20, "c.txt": b"third"}
WHOLE = {"zip": make_zip(SMALL), "tar": make_tar(SMALL)}


def read_members(kind: str, content: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The members that can be read, and whether all could."""

    def read_at(offset: int, size: int) -> bytes:
        return content[offset : offset + size]

    found, whole = {}, True
    try:
        for entry in (list_zip_entries if kind == "zip" else list_tar_entries)(read_at, len(content)):
            try:
                place = entry.offset if isinstance(entry, TarEntry) else entry.place
                data = read_zip_entry(read_at, place) if kind == "zip" else read_at(place, entry.size)
            except FormatFault:
                whole = False
            else:
                found[entry.name] = data
    except FormatFault:
        whole = False
    return found, whole


@given(kind=st.sampled_from([*WHOLE]), data=st.data())
def test_a_cut_archive_gives_a_fault_and_no_other_bytes(kind: str, data: st.DataObject) -> None:
    content = WHOLE[kind]
    assert read_members(kind, content) == ({name.encode(): text for name, text in SMALL.items()}, True)
    end = len(content.rstrip(b"\0")) + (1 if kind == "zip" else 400)  # a tar is padded by zeros
    found, whole = read_members(kind, content[: data.draw(st.integers(0, min(end, len(content) - 1)))])
    assert not whole
    assert {*found.values()} <= {*SMALL.values()}


@given(place=st.integers(0, len(WHOLE["zip"]) - 1), bit=st.integers(0, 7))
def test_a_bit_that_is_flipped_in_a_zip_gives_no_other_bytes(place: int, bit: int) -> None:
    content = bytearray(WHOLE["zip"])
    content[place] ^= 1 << bit
    assert {*read_members("zip", bytes(content))[0].values()} <= {*SMALL.values()}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "y.tar"])
def test_what_is_left_of_a_cut_archive_is_kept_beside_a_row_for_it(tmp_path: Path, name: str) -> None:
    content = make_tar(SMALL, "xz") if name == "y.tar" else WHOLE[name[2:]]
    (tmp_path / name).write_bytes(content[: 1600 if name == "x.tar" else len(content) - 20])
    result = run_on(tmp_path, {"kind": name[2:], "path": str(tmp_path / name)}, max_dropped=1.0)
    assert result.reasons == {f"folder:{name}": "unreadable"}
    assert len(result.rows) == (0 if name == "x.zip" else 1 if name == "x.tar" else len(result.rows))


def test_names_of_archives_are_escaped_as_those_of_files(tmp_path: Path) -> None:
    name = b"caf\xe9\n.txt"
    info = tarfile.TarInfo("placeholder")
    info.size = 1
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[:100] = name.ljust(100, b"\0")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
    (tmp_path / "x.tar").write_bytes(bytes(block) + b"x".ljust(512, b"\0") + bytes(1024))
    root = write_files(tmp_path / "inbox", {})
    Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(b"x")
    archive = run_on(tmp_path, {"kind": "tar", "path": str(tmp_path / "x.tar")})
    assert archive.hash_files() == run_ingest(tmp_path, make_params()).hash_files()


def test_sources_of_one_name_and_of_several(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        write_files(tmp_path / name, {"a.txt": name})
    paths = [{"path": str(tmp_path / name)} for name in ("one", "two", "three")]
    result = run_on(tmp_path, *paths)
    assert result.read_texts() == {("a.txt", ""): "one"}
    assert result.reasons == {f"folder:a.txt#source {number}": "duplicate" for number in (1, 2)}
    named = run_on(tmp_path, *({**path, "name": f"source-{number}"} for number, path in enumerate(paths)))
    assert [(row["source"], row["file"]) for row in named.rows] == [
        (f"source-{number}", "a.txt") for number in range(3)
    ]


def test_sources_that_cannot_be_used_stop_the_run(tmp_path: Path) -> None:
    for source, message in {
        "x.zip": r"ingest\.sources\.0\.path is .*x\.zip: no file has such a name",
        "*.zip": r"ingest\.sources\.0\.path is .*\*\.zip: no file has such a name",
        "no/x.zip": r"ingest\.sources\.0\.path is .*: name a file that is there",
    }.items():
        with pytest.raises(InputError, match=message):
            run_on(tmp_path, {"kind": "zip", "path": str(tmp_path / source)})
    with pytest.raises(ParamsError, match=r"ingest\.sources\.0\.kind"):
        make_params(sources=[{"kind": "rar", "path": "x.rar"}])


def test_an_archive_that_changes_stops_the_run(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"x.zip": make_zip({"a.txt": b"a"})})
    with (
        patch("pipeline.ingest.step.check_unchanged", side_effect=lambda inputs: _touch(inputs)),
        pytest.raises(InputError, match=r"x\.zip changed while it was read"),
    ):
        run_ingest(tmp_path, make_params())


def _touch(inputs: object) -> None:
    from pipeline.ingest.sources.containers import check_unchanged
    from pipeline.ingest.sources.source import SourceInputs

    assert isinstance(inputs, SourceInputs)
    for path in inputs.containers:
        os.utime(path, (1, 1))
    check_unchanged(inputs)


def test_a_full_disk_is_no_fault_of_the_archive() -> None:
    def copy() -> Iterator[tuple[bytes, int, int, None]]:
        yield b"a.txt", 0, 1, None
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        list(containers._stop_at_fault(copy(), []))
