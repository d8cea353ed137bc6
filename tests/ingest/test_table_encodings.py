"""Tables in the encodings that people's programs write are read as the same table in UTF-8 is."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError, ParamsError
from pipeline.formats.tabular.table_encoding import find_encoding
from tests.support.ingesting import Ingest, make_params, run_ingest, write_files

TEXTS = {
    "de": ["Größe und Fläche der Straße", "schöne Grüße über die Brücke", "das Mädchen trägt süße Äpfel"],
    "ja": ["黒い猫が窓のそばで静かに眠っている", "赤い自転車に乗った子供たち", "山の上に白い雪が積もっている"],
    "zh": ["一只黑色的猫安静地睡在窗边", "孩子们骑着红色的自行车", "山顶上覆盖着白色的积雪"],
}
FILES = [f"{number}.txt" for number in range(3)]
ENCODINGS = [
    ("de", "utf-16", None),
    ("de", "utf-8-sig", None),
    ("ja", "utf-16", None),
    ("de", "cp1252", "cp1252"),
    ("ja", "shift_jis", "cp932"),
    ("zh", "gb18030", "gb18030"),
]


def make_table(kind: str, language: str) -> str:
    rows = [{"file": file, "caption": text} for file, text in zip(FILES, TEXTS[language], strict=True)]
    if kind in ("csv", "tsv"):
        separator = "," if kind == "csv" else "\t"
        return "".join(f"{separator.join(row)}\n" for row in (("file", "caption"), *(row.values() for row in rows)))
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return "\n".join(lines) if kind == "jsonl" else f"[{', '.join(lines)}]"


def run_on(folder: Path, kind: str, content: bytes, language: str, **table: Any) -> Ingest:
    write_files(folder / "inbox", {file: f"text {file}" for file in FILES} | {f"said.{kind}": content})
    params = make_params(tables=[{"path": f"said.{kind}", **table}], default_language=language)
    return run_ingest(folder, params)


def list_captions(result: Ingest) -> list[str]:
    return [text for (_, part), text in result.read_texts().items() if part == "caption"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize(("language", "encoding", "guessed"), ENCODINGS)
def test_a_table_is_read_in_its_encoding(
    tmp_path: Path, kind: str, language: str, encoding: str, guessed: str | None
) -> None:
    result = run_on(tmp_path, kind, make_table(kind, language).encode(encoding), language)
    assert list_captions(result) == TEXTS[language]
    noted = [(drop.key, drop.value, drop.setting) for drop in result.parts if drop.reason == "guessed_encoding"]
    assert noted == ([(f"folder:said.{kind}", guessed, "ingest.tables")] if guessed else [])
    assert (f"texts in a guessed encoding: 1 {guessed}" in result.outcome.notes) is bool(guessed)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_params_say_what_a_guess_would_not_find(tmp_path: Path, kind: str) -> None:
    """UTF-16 without a mark, and a code page of DOS."""
    for label, codec in (("utf-16", "utf-16-le"), ("ibm866", "cp866")):
        text = make_table(kind, "de").replace("ö", "ж").replace("ß", "я").replace("ä", "ю").replace("ü", "б")
        content = text.replace("Ä", "Ж").encode(codec)
        result = run_on(tmp_path, kind, content, "de", encoding=label)
        assert "жя" in list_captions(result)[0].replace("е", "")
        assert not [drop for drop in result.parts if drop.reason == "guessed_encoding"]


def test_a_bad_line_among_good_ones_costs_itself(tmp_path: Path) -> None:
    content = make_table("csv", "de").encode() + b"0.txt,caf\xe9\n"
    result = run_on(tmp_path, "csv", content, "de")
    assert list_captions(result) == TEXTS["de"]
    assert {drop.key: str(drop.reason) for drop in result.parts} == {"said.csv:5": "not_utf8"}


def test_subtitles_are_decoded_by_the_same_rule(tmp_path: Path) -> None:
    cues = "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{text}\n\n" for n, text in enumerate(TEXTS["zh"], start=1))
    write_files(tmp_path / "inbox", {"talk.txt": "a recording", "talk.srt": cues.encode("gb18030")})
    params = make_params(tables=[{"path": "talk.srt"}], default_language="zh")
    result = run_ingest(tmp_path, params)
    found = [text for (_, part), text in result.read_texts().items() if part.startswith("caption")]
    assert found == TEXTS["zh"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"path": "a.csv", "encoding": "klingon"},
            r"encoding is .*klingon.* it must be an encoding that brow",
        ),
        ({"path": "a.parquet", "encoding": "utf-8"}, r"encoding is .* it must be left out: a Parquet table has none"),
    ],
)
def test_encodings_that_are_none_are_refused(table: dict[str, str], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(tables=[table])


def test_what_is_not_text_in_the_given_encoding_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"said\.csv is not text in utf-16-le: look at encoding in ingest\.tables"):
        run_on(tmp_path, "csv", b"\x00\xd8a\x00b\x00c", "en", encoding="utf-16")
    with pytest.raises(InputError, match=r"said\.csv is missing"):
        find_encoding(tmp_path / "said.csv", None, "en")
