"""Word vectors from files reach the embeddings of their tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.models.checkpoint import load_model
from pipeline.models.word_vectors import list_vector_files, load_word_vectors
from pipeline.tables.contracts import MODEL_FOLDER, SHARDS_FOLDER
from pipeline.train.initial_encoders import hash_initial_weights
from pipeline.train.params import TrainParams
from tests.support.factory_shards import WORDS, Toy, make_shards
from tests.train.test_train import run_train

VOCABULARY = ["", "<unknown>", "Cat", "dog", "über", "owl"]
LINES = "cat 1 2 3\nCat 4 5 6\nüber .5 -.5 1e-3\nbee 0 0 0\ncat and dog 7 7 7\ncat 9 9 9\n"
EXPECTED = {2: [4, 5, 6], 4: [0.5, -0.5, 0.001]}


def write_vectors(path: Path) -> Path:
    rows = [line.split(" ") for line in LINES.splitlines()]
    if path.suffix == ".npz":
        np.savez(path, words=[row[0] for row in rows], vectors=np.array([row[-3:] for row in rows], np.float64))
    else:
        path.write_text(("5 3\n" if path.suffix == ".vec" else "") + LINES, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["glove.txt", "fasttext.vec", "arrays.npz"])
def test_tokens_get_their_vectors_and_others_stay(name: str, tmp_path: Path) -> None:
    words = nn.Embedding(len(VOCABULARY), 3)
    before = words.weight.detach().clone()
    assert load_word_vectors(words, VOCABULARY, str(write_vectors(tmp_path / name))) == "vectors of 2 of 6 tokens"
    for number, values in EXPECTED.items():
        before[number] = torch.tensor(values)
    assert torch.equal(words.weight, before)


def write_pipeline(folder: Path, name: str = "table_md") -> Path:
    """Write a package of spaCy's with a table of vectors, without anything that computes, and return its folder."""
    import spacy
    from spacy.vectors import Vectors

    nlp = spacy.blank("en")
    rows = {line.split(" ")[0]: line.split(" ")[1:] for line in reversed(LINES.splitlines()) if line.count(" ") == 3}
    keys = [nlp.vocab.strings.add(word) for word in rows]
    data = np.array(list(rows.values()), np.float32)
    nlp.vocab.vectors = Vectors(strings=nlp.vocab.strings, data=data, keys=keys)
    (folder / name).mkdir()
    nlp.to_disk(folder / name / f"{name}-1.0")
    (folder / name / "__init__.py").touch()
    return folder / name


@pytest.mark.parametrize("installed", [True, False])
def test_a_pipeline_of_spacy_has_a_table(installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_pipeline(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    named = "spacy:table_md" if installed else f"spacy:{folder / 'table_md-1.0'}"
    words = nn.Embedding(len(VOCABULARY), 3)
    before = words.weight.detach().clone()
    assert load_word_vectors(words, VOCABULARY, named) == "vectors of 2 of 6 tokens"
    for number, values in EXPECTED.items():
        before[number] = torch.tensor(values)
    assert torch.equal(words.weight, before)
    assert [path.name for path in list_vector_files(named)] == ["vectors", "key2row", "strings.json"]
    params = TrainParams.model_validate({"encoders": {"text": {"vectors": named}}})
    assert len(hash_initial_weights(params, ("text",))) == 3


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("spacy:no_such_pipeline", "it must name an installed package or a folder: pip install no_such_pipeline"),
        ("spacy:numpy", "which has no table of vectors"),
    ],
)
def test_a_pipeline_without_a_table_is_refused(named: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"train\.encoders\.text\.vectors is {named}.*{message}"):
        list_vector_files(named)


def test_a_token_in_capitals_gets_the_vector_of_its_lower_case(tmp_path: Path) -> None:
    words = nn.Embedding(2, 3)
    load_word_vectors(words, ["", "CAT"], str(write_vectors(tmp_path / "glove.txt")))
    assert words.weight[1].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("owl 1 2\n", "with vectors of 2 numbers; set train.encoders.text.channels, which is 3, to 2"),
        ("bee 1 2 3\n", "has a vector of none of the 6 tokens"),
        ("owl 1 2 x\n", "line 1 is not a word and its numbers"),
        ("bee 1 2 3\nowl 1 2\n", "line 2 has 2 numbers, others have 3"),
        ("", "has a vector of none"),
    ],
)
def test_what_does_not_fit_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"train\.encoders\.text\.vectors is .*vectors\.txt.*{message}"):
        load_word_vectors(nn.Embedding(6, 3), VOCABULARY, str(path))


@pytest.mark.parametrize("name", ["vectors.npz", "vectors.txt"])
def test_a_damaged_file_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="which has no word vectors"):
        load_word_vectors(nn.Embedding(6, 3), VOCABULARY, str(tmp_path / name))


def test_a_model_starts_from_vectors_and_may_keep_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shards(tmp_path / SHARDS_FOLDER, Toy(train=8, val=4))
    path = tmp_path / "vectors.txt"
    path.write_text(f"{WORDS[2]} {' '.join(['0.5'] * 64)}\n")
    run_train(tmp_path, "run", epochs=1, encoders={"text": {"vectors": str(path), "freeze": True}})
    assert f"vectors of 1 of {len(WORDS)} tokens" in capsys.readouterr().err
    model, record = load_model(tmp_path / "run" / MODEL_FOLDER)
    number = [source.part for source in model.inputs].index("text")
    assert model.encoders[number].get_parameter("words.weight")[2].tolist() == [0.5] * 64
    assert list(record.initial_weights) == [str(path)]
