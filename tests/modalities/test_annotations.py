"""Annotations: lemmas and parts of speech of a model on this machine, aligned with the words, and never of an old
model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError, ParamsError
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.annotations import TAGS, describe_model, load_model
from pipeline.modalities.text.join import join_parsed
from pipeline.modalities.text.modality import TEXT, extract_text
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text, prepare_text
from pipeline.tables.contracts import EXTRACT_FOLDER
from shardwright.format.manifest import read_manifest
from tests.extract.test_incremental import list_outputs, read_counts
from tests.support.factory_extract import Thing, extract_things, make_params, read_all, run_extract, write_corpus

pytestmark = pytest.mark.slow

NOUNS = {"cats": "cat", "dogs": "dog", "mice": "mouse"}
VERBS = {"saw": "see", "did": "do"}


def save_model(folder: Path, *components: str) -> Path:
    """A small English pipeline of spaCy that knows a few words, written by spaCy itself."""
    import spacy
    from spacy.lookups import Lookups

    nlp = spacy.blank("en")
    if "attribute_ruler" in components:
        ruler = nlp.add_pipe("attribute_ruler")
        for words, tag in ((NOUNS, "NOUN"), (VERBS, "VERB"), ({"n't": "", "the": ""}, "PART")):
            ruler.add([[{"LOWER": word}] for word in words], {"POS": tag})
        ruler.add([[{"NORM": "not"}]], {"POS": "ADV"})
    if "lemmatizer" in components:
        tables = Lookups()
        tables.add_table("lemma_lookup", NOUNS | VERBS)
        nlp.add_pipe("lemmatizer", config={"mode": "lookup"}).initialize(lambda: [], nlp=nlp, lookups=tables)
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model"), "attribute_ruler", "lemmatizer"))


def plan(model: str | None, *annotate: str, **more: Any) -> TextFeatures:
    values = {"language": "en", "fallback": None, "lowercase": True, "length": 8, "vocabulary": 100, "min_count": 1}
    return TextFeatures.model_validate({**values, "model": model, "annotate": annotate, **more})


def parse(text: str, params: TextFeatures) -> Any:
    return parse_text(MediaItem(text.encode(), "text/plain"), params)


def name_tags(numbers: list[int]) -> list[str]:
    return [TAGS[number - 1] for number in numbers]


# What is said of words


def test_words_have_their_lemmas_and_parts_of_speech(model: str) -> None:
    parsed = parse("The cats saw Mice, mail [EMAIL]!", plan(model, "lemma", "pos"))
    assert parsed["words"] == ["the", "cats", "saw", "mice", ",", "mail", "[EMAIL]", "!"]
    assert parsed["lemmas"] == ["the", "cat", "see", "mice", ",", "mail", "[EMAIL]", "!"], (
        "a word without one is its own"
    )
    assert name_tags(parsed["pos"]) == ["PART", "NOUN", "VERB", "NOUN", "X", "X", "X", "X"]


def test_words_are_those_without_a_model(model: str) -> None:
    for text in ("Don't mail [EMAIL], call:[PHONE] !", "a  b", "", " ", "[EMAIL] and [PHONE]"):
        for lowercase in (True, False):
            words = parse(text, plan(None, lowercase=lowercase))
            assert parse(text, plan(model, "pos", lowercase=lowercase))["words"] == words


def test_the_model_sees_what_the_tokenizer_knows_of_a_word(model: str) -> None:
    parsed = parse("they did n't, they don't", plan(model, "pos"))
    assert dict(zip(parsed["words"], name_tags(parsed["pos"]), strict=True))["n't"] == "ADV"


def test_what_is_cut_is_not_looked_at(model: str) -> None:
    params = plan(model, "pos", length=3)
    assert parse("cats " * 20, params) == parse("cats cats cats cats", params), "one more says that it is cut"


@pytest.mark.parametrize("joiner", ["\n", " saw "])
def test_joined_texts_have_the_annotations_of_their_words(model: str, joiner: str) -> None:
    params = plan(model, "lemma", "pos", length=6)
    texts = ["cats did", "", "the mice", "dogs"]
    joined = parse("cats did saw saw the mice saw" if joiner.strip() else "cats did the mice dogs", params)
    assert join_parsed([parse(text, params) for text in texts], joiner, params) == joined


def test_arrays_are_aligned_and_lemmas_are_in_the_vocabulary_of_the_words(model: str) -> None:
    params, learning = plan(model, "lemma", "pos", dtype="uint16"), TEXT.learning
    assert learning is not None
    parsed = parse("cats saw the cat", params)
    counts = learning.count(parsed, params)
    assert counts == {"cats": 1, "cat": 2, "saw": 1, "see": 1, "the": 1}, "a word that is its own lemma counts once"
    words = learning.learn(counts, params)["words"]
    arrays = extract_text(MediaItem(b"cats saw the cat", "text/plain"), params, {"words": words})
    fields = TEXT.plan_fields(params)
    assert list(arrays) == list(fields) == ["tokens", "tokens_length", "lemmas", "pos"]
    assert {name: str(array.dtype) for name, array in arrays.items()} == {n: f.dtype for n, f in fields.items()}
    assert [words[number] for number in arrays["tokens"][:4]] == ["cats", "saw", "the", "cat"]
    assert [words[number] for number in arrays["lemmas"][:4]] == ["cat", "see", "the", "cat"]
    assert arrays["pos"].tolist() == [TAGS.index(tag) + 1 for tag in ("NOUN", "VERB", "PART", "X")] + [0] * 4
    assert arrays["lemmas"][4:].tolist() == [0] * 4


def test_the_numbers_of_the_tags_stay() -> None:
    assert tuple(sorted(TAGS)) == TAGS
    assert (TAGS[0], TAGS[7], TAGS[16], len(TAGS)) == ("ADJ", "NOUN", "X", 17)


# Through extract

THINGS = [
    Thing("a", contents={"text": b"cats saw mice"}, modalities=("text",)),
    Thing("b", contents={"text": b"the dog saw cats"}, modalities=("text",)),
    Thing("c", "test", contents={"text": b"dogs did"}, modalities=("text",)),
]


def annotated(model: str, **more: Any) -> Any:
    return make_params(text__model=model, text__annotate=["lemma", "pos"], **more)


def test_shards_have_the_fields_and_the_record_the_model(model: str, tmp_path: Path) -> None:
    root = extract_things(tmp_path / "one", THINGS, annotated(model))
    assert list(read_manifest(root).fields) == ["tokens", "tokens_length", "lemmas", "pos", "label"]
    words = json.loads((root / "vocabulary.json").read_text())["words"]
    sample = read_all(root)["a"]
    assert [words[number] for number in sample["lemmas"][:3]] == ["cat", "see", "mouse"]
    np.testing.assert_array_equal(sample["pos"][:3], [8, 16, 8])
    record = json.loads((tmp_path / "one/data" / EXTRACT_FOLDER / "extract_record.json").read_text())
    assert record["libraries"]["en_pipeline"] == describe_model(model)["en_pipeline"]
    assert "thinc" in record["libraries"]
    extract_things(tmp_path / "two", THINGS[::-1], annotated(model))
    assert list_outputs(tmp_path / "two") == list_outputs(tmp_path / "one")


def test_another_model_computes_anew_and_another_vocabulary_does_not(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", "attribute_ruler", "lemmatizer")
    write_corpus(tmp_path / "data", THINGS)
    assert read_counts(run_extract(tmp_path, annotated(str(folder)))) == (0, 3)
    assert read_counts(run_extract(tmp_path, annotated(str(folder), text__vocabulary=3))) == (3, 0)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"description": "another"}))
    assert read_counts(run_extract(tmp_path, annotated(str(folder)))) == (0, 3)


# What is missing


def test_a_model_that_is_missing_stops_before_any_work(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", THINGS)
    with pytest.raises(InputError, match=r"extract\.text\.model is 'en_absent_sm'.*install the package en_absent_sm"):
        run_extract(tmp_path, annotated("en_absent_sm"))
    assert [path.name for path in (tmp_path / "cache/objects").glob("*") if path.name != ".lock"] == []


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"extract\.text\.model is 'numpy', a package that is not a pipeline"):
        prepare_text(plan("numpy", "pos"))
    with pytest.raises(InputError, match=r"extract\.text\.model is .*, which is not a folder written by spaCy"):
        prepare_text(plan(f"{tmp_path}/", "pos"))
    (save_model(tmp_path / "broken", "lemmatizer") / "config.cfg").write_text("[nlp]\nlang = 5\n")
    with pytest.raises(InputError, match=r"extract\.text\.model is .*broken.*, which spaCy [\d.]+ cannot load"):
        prepare_text(plan(str(tmp_path / "broken"), "lemma"))


def test_a_model_that_does_not_set_what_is_asked_for_is_named(tmp_path: Path) -> None:
    folder = str(save_model(tmp_path / "lemmas", "lemmatizer"))
    assert load_model(folder, ("lemma",)).pipe_names == ["lemmatizer"]
    with pytest.raises(InputError, match=r"extract\.text\.annotate has 'pos', which .* with lemmatizer does not set"):
        prepare_text(plan(folder, "lemma", "pos"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "m"}, r"annotate is \[\]; it must name at least one annotation"),
        ({"annotate": ["pos"]}, r"model is null; it must name a pipeline of spaCy"),
        ({"model": "m", "annotate": ["pos", "pos"]}, "annotate is .*; it must be a list without repeats"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=rf"extract\.text\.{message}"):
        make_params(**{f"text__{name}": value for name, value in changes.items()})
