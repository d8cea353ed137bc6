"""`shardwright why`: every item is found by each of its names; hostile names cannot control the terminal."""

import json
import os
import shutil
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demo.flaws import EXPECTED, Flaw
from demo.plan import HOST
from pipeline.inputs.params import InputParams
from pipeline.lineage.facts import DropFacts, FileFacts, ItemFacts, SampleLocation, WhyAnswer
from pipeline.lineage.stage_tables import STAGE_FOLDERS, StageTables
from pipeline.lineage.why.command import _find_sources
from pipeline.lineage.why.command import run as why
from pipeline.lineage.why.explain import MAX_SHOWN, explain_answer
from pipeline.lineage.why.match import NearNames
from pipeline.lineage.why.query import read_query
from pipeline.lineage.why.trace import open_tracer
from pipeline.tables.contracts import ALIGNED_SAMPLES, DROPPED
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_item
from pipeline.tables.table_files import read_table
from shardwright.cli.main import main
from shardwright.datasets.shard_dataset import ShardDataset
from shardwright.format.canonical_json import decode_json
from shardwright.format.index import decode_key
from tests.support.demo_run import LOST, Run, find_path
from tests.support.ingesting import Response, make_image, make_params, run_ingest, write_files
from tests.support.stage_tables import make_item, write_crawl, write_items

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def ask(data: Path, word: str, root: Path | None = None, most: int = 10) -> WhyAnswer:
    sources = InputParams(root=str(root)).list_sources() if root else ()
    return open_tracer(StageTables(data), most).answer(read_query(word, sources))


def find_drop(file: FileFacts) -> DropFacts | None:
    """Return the verdict of the first stage that dropped the file or one of its items."""
    verdicts = [file.response and file.response.dropped, file.dropped]
    verdicts += [
        verdict for item in file.items for verdict in (item.clean, item.align) if isinstance(verdict, DropFacts)
    ]
    return next((verdict for verdict in verdicts if verdict), None)


def find_item(answer: WhyAnswer, item: str) -> ItemFacts:
    (found,) = (each for file in answer.files for each in file.items if each.id == item)
    return found


@pytest.mark.parametrize("flaw", LOST)
def test_the_url_of_every_flaw_has_its_reason(run: Run, flaw: Flaw) -> None:
    expected = EXPECTED[flaw]
    for thing in run.site.find_flawed(flaw):
        page = ask(run.data, f"http://{HOST}{thing.page}")
        if flaw in (Flaw.NO_PICTURE, Flaw.NO_SOUND):
            dropped = find_drop(page.files[0])
            assert dropped
            assert (dropped.stage, dropped.reason) == ("align", "missing_partner")
            continue
        url = f"http://{HOST}{find_path(thing, expected.part)}"
        (file,) = ask(run.data, url).files
        dropped = find_drop(file)
        assert file.response
        assert file.response.url == url
        assert dropped
        assert (dropped.stage, dropped.reason) == (expected.stage, str(expected.reason))
        if expected.part != "page" and page.files[0].items:  # the page reports it too
            (item,) = page.files[0].items
            assert [partner.dropped for partner in item.partners] == [dropped]


@pytest.mark.parametrize(
    ("flaw", "setting"),
    [
        (Flaw.TINY_PICTURE, "clean.image.min_side is 16"),
        (Flaw.FLAT_PICTURE, "clean.image.min_contrast is 2"),
        (Flaw.SILENT_SOUND, "clean.audio.min_level is -60"),
        (Flaw.SLOW_PICTURE, "crawl.timeout is 5.0"),
    ],
)
def test_the_setting_that_decided_is_named_with_its_value(run: Run, flaw: Flaw, setting: str) -> None:
    thing = run.site.find_flawed(flaw)[0]
    answer = ask(run.data, f"http://{HOST}{find_path(thing, EXPECTED[flaw].part)}")
    assert f"(setting {setting})" in "\n".join(explain_answer(answer))


def test_kept_items_are_followed_to_their_end(run: Run) -> None:
    for thing in run.site.find_flawed(Flaw.MOVED_PICTURE):
        (answer,) = [ask(run.data, f"http://{HOST}{find_path(thing, 'picture')}")]
        (file,) = answer.files
        assert file.response
        assert file.response.final_url != file.response.url
        assert ask(run.data, file.response.final_url or "").files == answer.files
    for flaw in (Flaw.EMAIL_IN_CAPTION, Flaw.EXIF_GPS):
        thing = run.site.find_flawed(flaw)[0]
        answer = ask(run.data, f"http://{HOST}{find_path(thing, EXPECTED[flaw].part)}")
        (item,) = answer.files[0].items
        assert item.clean
        assert not isinstance(item.clean, DropFacts)
        assert item.clean.rewritten
        assert item.clean.redactions == (flaw is Flaw.EMAIL_IN_CAPTION)
        assert item.clean.sha256 == run.cleaned[item.id]["sha256"]


def test_a_duplicate_names_the_sample_that_is_kept(run: Run) -> None:
    for thing in run.site.find_flawed(Flaw.EXACT_DUPLICATE):
        pair = [thing, run.site.things[thing.copy_of or 0]]
        samples = {one.page: run.find_sample(one) for one in pair}
        (lost,) = (page for page, sample in samples.items() if sample is None)
        (kept,) = (sample for sample in samples.values() if sample is not None)
        answer = ask(run.data, f"http://{HOST}{lost}")
        (item,) = answer.files[0].items
        assert item.kept_sample == kept["key"]
        assert [sample.key for sample in answer.samples] == [kept["key"]]
        assert not isinstance(item.clean, DropFacts)
        assert item.clean
        assert item.clean.same.count == 1


def test_members_are_at_the_reported_locations(run: Run) -> None:
    for split in ("train", "val", "test"):
        with ShardDataset(run.data / "5_shards", split) as data:
            for number, key in list(enumerate(map(decode_key, data.keys.tolist())))[::3]:
                answer = ask(run.data, key)
                (sample,) = answer.samples
                assert isinstance(sample.extract, SampleLocation)
                assert (sample.key, sample.split, sample.extract.split) == (key, split, split)
                assert answer.dataset == data.hash
                content = (run.data / "5_shards" / split / sample.extract.shard).read_bytes()
                arrays = data[number]
                for member in sample.extract.members:
                    header = content[member.offset - 512 : member.offset]
                    stored = content[member.offset : member.offset + member.size]
                    assert header[:100].rstrip(b"\0").decode() == f"{key}.{member.name}"
                    field, ending = member.name.split(".")
                    if ending == "json":
                        assert decode_json(stored) == data.meta(number)
                    else:
                        assert stored.endswith(np.ascontiguousarray(arrays[field]).tobytes())


def test_every_item_is_found_by_its_id_and_names(run: Run) -> None:
    in_sample = {row[name]: row["key"] for row in run.samples for name in ("image", "audio", "text")}
    for row in list(run.items.values())[::17]:
        for word in (row["id"], name_item(row), row["file"], row["url"]):
            answer = ask(run.data, word)
            item = find_item(answer, row["id"])
            assert item.name == name_item(row)
            assert item.sample == in_sample.get(row["id"])
            assert answer.files[0].response
            assert answer.files[0].response.url == row["url"]
            assert [sample.key for sample in answer.samples if sample.key == item.sample] == [item.sample] * bool(
                item.sample
            )


def test_everything_that_was_dropped_is_found_by_its_key(run: Run) -> None:
    for stage, folder in STAGE_FOLDERS.items():
        for row in read_table(run.data / folder / "dropped", DROPPED)[::3]:
            answer = ask(run.data, row["key"])
            found = [find_drop(file) for file in answer.files]
            assert [(drop.stage, drop.reason) for drop in found if drop] == [(stage, row["reason"])]


def test_a_sample_is_followed_back_to_its_files(run: Run) -> None:
    sample = run.samples[0]
    answer = ask(run.data, sample["key"])
    assert {item.id for file in answer.files for item in file.items} == {sample[m] for m in ("image", "audio", "text")}
    assert {part.item for parts in answer.samples[0].parts.values() for part in parts} == {
        item.name for file in answer.files for item in file.items
    }


def test_a_mistyped_name_gets_suggestions(run: Run) -> None:
    sample = run.samples[3]["key"]
    url = next(iter(run.items.values()))["url"]
    for word, meant in ((sample[:5] + sample[6:], sample), (url.replace("http", "htp"), url), (url[:-1] + "x", url)):
        answer = ask(run.data, word)
        assert not answer.found
        assert meant in answer.near[:3]
    assert not ask(run.data, "nothing like it").near


@given(st.text("abcdefgh/.", min_size=6, max_size=20), st.integers(0, 19), st.sampled_from("abcdxyz"))
@example("//aaa/", 1, "a")
@example("....a.", 4, "x")
def test_a_name_with_one_wrong_letter_is_suggested(name: str, place: int, letter: str) -> None:
    import pyarrow as pa

    wrong = name[: place % len(name)] + letter + name[place % len(name) + 1 :]
    near = NearNames(wrong)
    near.add(pa.array([f"{number} quite another" for number in range(50)]))
    near.add(pa.array([name]))
    assert near.rank(1) == [name]


ODD_NAMES = [
    b"a\\b.png",
    b"caf\xe9.png",
    b"new\nline.png",
    b"deep/er/c:d#e.png",
    "löwe.png".encode(),
    b"\x1b[31mred.png",
]


def test_a_file_on_disk_is_found_by_any_name(tmp_path: Path) -> None:
    root = tmp_path / "inbox"
    for name in ODD_NAMES:
        path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_image(len(name)))
    data = run_ingest(tmp_path, make_params(root=str(root))).data
    for name in ODD_NAMES:
        answer = ask(data, os.fsdecode(os.fsencode(root) + b"/" + name), root)
        (file,) = answer.files
        (item,) = file.items
        assert item.size == len(make_image(len(name)))
        assert ask(data, item.name).files == ask(data, item.id).files == answer.files
    assert not ask(data, str(tmp_path / "other.png"), root).found
    assert answer.stages == ["crawl", "ingest"]
    lines = "\n".join(explain_answer(answer))
    assert "3_cleaned is missing" in lines
    assert "`dvc repro clean`" in lines


def test_several_matches_are_listed(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", {"cat.png": make_image(1)})
    responses = [Response(f"http://host-{number}.test/cat.png", make_image(number)) for number in range(12)]
    data = run_ingest(tmp_path, make_params(), responses).data
    answer = ask(data, "cat.png", most=3)
    assert (answer.matches.count, len(answer.matches.names)) == (13, 3)
    assert not answer.files
    for name in ask(data, "cat.png", most=20).matches.names:
        assert len(ask(data, name).files) == 1
    assert ask(data, "folder:cat.png").files[0].response is None


def test_parts_and_repeated_urls_have_their_rows(tmp_path: Path) -> None:
    lines = "A cat.\nde=Katze\nfr=chat\n"
    responses = [Response(f"{scheme}://x.test/cat.txt", lines) for scheme in ("http", "https")]
    params = make_params(text="tagged_lines", languages=("en", "de"))
    data = run_ingest(tmp_path, params, [*responses, Response("http://x.test/gone", None)]).data
    (file,) = ask(data, "https://x.test/cat.txt").files
    assert [item.language for item in file.items] == ["de", "en"]
    assert [(part.count, part.setting) for part in file.left_out] == [(1, "ingest.languages")]
    (one,) = ask(data, "x.test:cat.txt#de").files
    assert [item.language for item in one.items] == ["de"]
    (repeated,) = ask(data, "http://x.test/cat.txt").files
    assert repeated.dropped
    assert repeated.dropped.reason == Reason.DUPLICATE
    assert ask(data, "HTTP://X.test/cat.txt#top").files == [repeated]


def write_rows(data: Path, names: list[str]) -> None:
    """Write tables with these names in every column that has names."""
    described = ("page", "final_url", "content_type")
    urls = {f"http://x.test/{name}": {"reason": "timeout", **dict.fromkeys(described, name)} for name in names}
    write_crawl(data, urls, [Drop(url, Reason.TIMEOUT, row["page"], row["page"]) for url, row in urls.items()])
    items = [make_item(name, part=name, media_type=name, licence=name, attribution=name) for name in names]
    write_items(data, items, [Drop(f"folder:gone {name}", Reason.EMPTY, name, name, name) for name in names])


HOSTILE = [
    "\x1b[2J\x1b]0;owned\x07",
    "a\r\nfake line",
    "../../etc/passwd",
    "\x9b31m\u202egnp.exe",
    "%s{0}",
    "x" * 10_000,
]
HOSTILE += [":#" * 2000, "\x7f", "(?P<a>", "folder:"]


def test_hostile_names_cannot_control_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path, HOSTILE)
    for name in HOSTILE:
        there = (name, f"http://x.test/{name}", f"gone {name}")
        for word in (*there, f"not there {name}"):
            for flags in ([], ["--json"]) if word == name else ([],):
                code = why([f"--data={tmp_path}", *flags, "--", word])
                output = capsys.readouterr()
                assert code == (word not in there)
                assert output.err == ""
                assert all(character == "\n" or character.isprintable() for character in output.out)
                if flags:
                    assert json.loads(output.out)["query"] == word
                else:
                    assert all(len(line) < 6 * MAX_SHOWN for line in output.out.split("\n"))


@given(word=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_any_word_is_answered(word: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.getbasetemp() / "words"
    if not data.is_dir():
        write_rows(data, ["a", "b/c"])
    answer = ask(data, word, data)
    assert answer.query == word
    assert list(explain_answer(answer))
    assert answer.found or word not in ("a", "b/c", "folder:a#a")


def test_errors_are_one_line_and_exit_2(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why(["cat.png"]) == 2
    assert "data has none of the folders" in capsys.readouterr().err
    assert why(["cat.png", "--data", str(run.data)]) == 1
    key = run.samples[0]["key"]
    assert why([key, "--data", str(run.data)]) == 0
    assert f"sample {key}" in capsys.readouterr().out
    (tmp_path / "data" / ALIGNED_SAMPLES).mkdir(parents=True)
    assert why(["cat-1"]) == 2
    assert f"{ALIGNED_SAMPLES} is missing: run the stage" in capsys.readouterr().err
    shutil.copytree(run.data / ALIGNED_SAMPLES, tmp_path / "data" / ALIGNED_SAMPLES, dirs_exist_ok=True)
    (tmp_path / "data" / ALIGNED_SAMPLES / "part-000000.parquet").write_bytes(b"PAR1 no table")
    assert why(["cat-1"]) == 2
    assert "part-000000.parquet is damaged" in capsys.readouterr().err
    (tmp_path / "params.yaml").write_text("ingest: {root: somewhere}\n")
    assert why(["somewhere/cat.png", "--data", str(run.data)]) == 1
    for content in ("ingest:\n", "run: {}\n"):
        (tmp_path / "params.yaml").write_text(content)
        assert [source.path for source in _find_sources(None)] == ["inbox"]


def test_the_commands_are_found_from_anywhere(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["shardwright.commands"]
    metadata = tmp_path / "commands-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: commands\nVersion: 1.0\n")
    lines = [f"{name} = {place}" for name, place in commands.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[shardwright.commands]", *lines]))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.chdir(tmp_path)
    assert {entry.name for entry in entry_points(group="shardwright.commands")} >= {"why", "diff"}
    assert main(["why", run.samples[0]["key"], "--data", str(run.data)]) == 0
    assert main(["diff", str(run.data), str(run.data)]) == 0
    assert str(ROOT) in sys.path
