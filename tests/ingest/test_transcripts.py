"""Transcripts of recordings: each cue is a span with its text, or a dropped row with its line."""

import codecs
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, ParamsError
from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.table import TABLE_KINDS
from tests.support.factory_media import encode_audio, make_tone
from tests.support.ingesting import make_params, run_ingest, write_files

SRT = """1
00:00:00,000 --> 00:00:01,500
<i>one</i>
two

2
00:00:02.5 --> 00:00:03.25 X1:10
{\\an8}three & four

no times here

4
00:00:04,000 -> 00:00:05,000
arrow

5
00:00:06,000 --> 00:00:07,000

6
01:00:06,000 --> 01:00:07,000
late
"""

VTT = """WEBVTT - a title

NOTE a comment
of two lines

STYLE
::cue { color: red }

intro
00:00.000 --> 00:01.500 align:start
<v Ann>one <00:00:01.000>two</v>

00:02.500 --> 00:03.250
three &amp; four
"""

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 4
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 4
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "one two"
        intervals [2]:
            xmin = 1.5
            xmax = 2.5
            text = ""
        intervals [3]:
            xmin = 2.5
            xmax = 3.25
            text = "three & ""four"" five"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 4
        points: size = 1
        points [1]:
            number = 0.5
            mark = "tick"
"""

SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
4
<exists>
1
"IntervalTier"
"words"
0
4
2
0
1.5
"one two"
2.5
3.25
"three & ""four"" five"
"""


def read(tmp_path: Path, name: str, content: str | bytes, **params: Any) -> list[TextRow | BadRow]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = AnnotationTable(path=name, **params)
    return list(TABLE_KINDS[table.find_kind() or ""](path, table))


def show(rows: list[TextRow | BadRow]) -> list[tuple[Any, ...]]:
    return [
        (row.line, str(row.reason))
        if isinstance(row, BadRow)
        else (row.line, float(row.values["start"] or 0), float(row.values["end"] or 0), row.values["caption"])
        for row in rows
    ]


SPANS = [(0.0, 1.5, "one two"), (2.5, 3.25, "three & four")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_subtitles(tmp_path: Path, encoding: str, end: str) -> None:
    assert show(read(tmp_path, "a.srt", SRT.replace("\n", end).encode(encoding))) == [
        (2, *SPANS[0]),
        (7, *SPANS[1]),
        (10, "unreadable"),
        (12, "unreadable"),
        (17, "empty"),
        (20, 3606.0, 3607.0, "late"),
    ]
    assert show(read(tmp_path, "a.vtt", VTT.replace("\n", end).encode(encoding))) == [(10, *SPANS[0]), (13, *SPANS[1])]


def test_label_tracks(tmp_path: Path) -> None:
    labels = "0.0\t1.5\tone two\n\\\t100\t200\n2,5\t3,25\tthree & four\n4\t5\t\n6 7 x\n"
    rows = show(read(tmp_path, "a.txt", labels, kind="audacity"))
    assert rows == [(1, *SPANS[0]), (3, *SPANS[1]), (4, "empty"), (5, "unreadable")]


def test_ctm(tmp_path: Path) -> None:
    rows = read(tmp_path, "a.ctm", ";; comment\ntalk 1 0.0 1.5 one 0.9\ntalk A x 1 two\ntalk 1 2.5 0.75 three\n")
    assert show(rows) == [(2, 0.0, 1.5, "one"), (3, "unreadable"), (4, 2.5, 3.25, "three")]
    assert isinstance(rows[0], TextRow)
    assert rows[0].values["file"] == "talk"


@pytest.mark.parametrize("content", [LONG, SHORT, LONG.encode("utf-16"), codecs.BOM_UTF8 + SHORT.encode()])
def test_textgrids(tmp_path: Path, content: str | bytes) -> None:
    expected = [(1, *SPANS[0]), (2, 2.5, 3.25, 'three & "four" five')]
    assert show(read(tmp_path, "a.TextGrid", content)) == expected
    assert show(read(tmp_path, "a.TextGrid", content, tier="words")) == expected
    assert show(read(tmp_path, "a.TextGrid", content, tier="phones")) == [(1, "unreadable")]


def test_a_damaged_textgrid_is_a_bad_row(tmp_path: Path) -> None:
    for content in ("", "no TextGrid", LONG[:150], SHORT[: len(SHORT) // 2], b"\xff"):
        assert [row for row in read(tmp_path, "a.TextGrid", content) if isinstance(row, BadRow)]


def test_a_textgrid_with_several_tiers_asks_for_one(tmp_path: Path) -> None:
    second = LONG[LONG.index("    item [1]") : LONG.index("    item [2]")].replace("words", "phones")
    with pytest.raises(InputError, match="has the tiers words, phones: name one"):
        read(tmp_path, "a.TextGrid", LONG.replace("    item [2]", second.replace("[1]:", "[3]:", 1) + "    item [2]"))


WAV = encode_audio(make_tone(8000, 4.0), 8000, "WAV")


def test_a_kaldi_folder(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "wav/talk one.wav": WAV,
        "data/wav.scp": f"r1 {tmp_path}/inbox/wav/talk one.wav\nr2 sox in.wav -t wav - |\nr3 raw.ark:17\n",
        "data/segments": "u1 r1 0.0 1.5\nu2 r1 2.5 3.25\nu3 r2 0 1\nu4 r3 0 1\nu6 r4 0 1\n",
        "data/text": "u1 one two\nu2 three\nu3 command\nu4 archive\nu5 no segment\nu6 no file\nu1x\n",
        "data/utt2spk": "u1 ann\nu2 bob\n",
    }
    write_files(tmp_path / "inbox", files)
    result = run_ingest(tmp_path, make_params(tables=[{"path": "data/text", "kind": "kaldi"}]))
    columns = ("part", "sample", "start", "end", "group")
    assert [tuple(row[name] for name in columns) for row in result.rows] == [
        ("/u1", "u1", 0.0, 1.5, "ann"),
        ("/u2", "u2", 2.5, 3.25, "bob"),
        ("caption/u1", "u1", 0.0, 1.5, "ann"),
        ("caption/u2", "u2", 2.5, 3.25, "bob"),
    ]
    assert {part.key for part in result.parts} == {f"data/text:{line}" for line in range(3, 8)}
    assert [drop.key for drop in result.drops] == [
        f"folder:data/{name}" for name in ("segments", "text", "utt2spk", "wav.scp")
    ]


def test_transcripts_lie_beside_their_recordings(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a/talk.wav": WAV, "a/talk.en.srt": SRT, "b/talk.wav": WAV, "b/talk.srt": SRT}
    write_files(tmp_path / "inbox", files | {"b/talk.png": b"\x89PNG", "c/lost.srt": SRT})
    result = run_ingest(tmp_path, make_params(tables=[{"path": "**/*.srt"}], default_language="de", max_dropped=0.4))
    spans = {(row["file"], row["part"]): row["language"] for row in result.rows if row["modality"] == "text"}
    assert spans == {
        (f"{name}/talk.wav", f"caption/{span}"): language
        for name, language in (("a", "en"), ("b", "de"))
        for span in ("0.000-1.500", "2.500-3.250", "3606.000-3607.000")
    }
    lost = {part.key: str(part.reason) for part in result.parts if part.key.startswith("c/")}
    assert list(lost.values()).count("missing_file") == 3
    assert set(lost) == {f"c/lost.srt:{line}" for line in (2, 7, 10, 12, 17, 20)}


def test_the_texts_of_a_transcript_may_be_labels(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"bird.wav": WAV, "bird.txt": "0\t1\towl\n1\t2\tcrow\n"})
    table = {"path": "*.txt", "kind": "audacity", "columns": {"label": "text"}}
    result = run_ingest(tmp_path, make_params(tables=[table]))
    assert [(row["part"], row["label"]) for row in result.rows] == [("/0.000-1.000", "owl"), ("/1.000-2.000", "crow")]
    with pytest.raises(ParamsError, match=r"tables.0.columns .*all its values must be text"):
        make_params(tables=[{**table, "columns": {"label": "name"}}])
