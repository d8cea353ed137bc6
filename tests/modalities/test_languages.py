"""Texts are split by the tokenizer of their language."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text, reads_language, split_text
from pipeline.modalities.text.words import choose_language
from tests.support.factory_extract import Thing, extract_things, make_params, read_all, run_extract, write_corpus

AUTO = TextFeatures(language="auto", length=100)

WORDS = {
    "zh": ("我的iPhone 15很好，价格3.5元。", "我 的 iphone 15 很 好 ， 价 格 3.5 元 。"),
    "zh-TW": ("黑貓 [EMAIL]", "黑 貓 [EMAIL]"),
    "en-GB": ("Don't mail!", "do n't mail !"),
    "fr": ("L'oiseau d'hier", "l' oiseau d' hier"),
    "ar": ("مرحبا، بالعالم؟", "مرحبا ، بالعالم ؟"),
    "hi": ("अच्छा लड़का।", "अच्छा लड़का ।"),
    "qq": ("a cat.", "a cat ."),
    "": ("🐈 sleeps", "🐈 sleeps"),
}


@pytest.mark.parametrize("language", WORDS)
def test_words_are_those_of_the_language(language: str) -> None:
    text, words = WORDS[language]
    assert parse_text(MediaItem(text.encode(), "text/plain", language=language or None), AUTO) == words.split()


@given(st.text(max_size=30), st.sampled_from(["zh", "en", "ar", None]))
def test_no_character_is_lost(text: str, language: str | None) -> None:
    params = AUTO.model_copy(update={"lowercase": False})
    words = split_text(text, params, language)
    assert "".join("".join(words).split()) == "".join(text.split())
    assert all(words)


@given(st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=20))
def test_a_chinese_character_is_a_word(text: str) -> None:
    assert split_text(text, AUTO, "zh") == split_text(text, TextFeatures(language="zh")) == list(text)


@pytest.mark.parametrize("code", ["en", "EN-us", "pt_BR", "sr@latin", "zz", "../en", "", None])
def test_a_language_is_one_of_spacys_or_none(code: str | None) -> None:
    known = {"en": "en", "EN-us": "en", "pt_BR": "pt", "sr@latin": "sr"}
    assert choose_language(code, AUTO) == known.get(code or "", "xx")
    assert choose_language(code, TextFeatures(language="de")) == "de"


def test_what_a_language_lacks_is_named_and_has_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sudachipy", None)
    with pytest.raises(InputError, match=r"language is 'ja'.* needs sudachipy and sudachidict_core.*fallback.*bpe"):
        split_text("黒い猫がいる", AUTO, "ja")
    by_character = AUTO.model_copy(update={"fallback": "zh"})
    assert split_text("黒い猫がiPhoneにいる", by_character, "ja") == [*"黒い猫が", "iphone", *"にいる"]


def test_only_words_of_auto_depend_on_the_language() -> None:
    assert reads_language(AUTO)
    assert not reads_language(TextFeatures())
    assert not reads_language(TextFeatures(language="auto", tokenizer="bpe"))


@pytest.mark.slow
def test_the_language_of_an_item_decides_and_is_in_the_cache_key(tmp_path: Path) -> None:
    texts = {"a": ("红猫红狗", "zh"), "b": ("红猫 红狗", "en"), "c": ("red cat", None)}
    things = [
        Thing(key, modalities=("text",), contents={"text": text.encode()}, columns={"language": language})
        for key, (text, language) in texts.items()
    ]
    root = extract_things(tmp_path, things, make_params(text__language="auto"))
    assert {key: int(sample["tokens_length"]) for key, sample in read_all(root).items()} == {"a": 4, "b": 2, "c": 2}
    chinese = [Thing(thing.key, "train", "one", ("text",), thing.contents, {"language": "zh"}) for thing in things]
    shutil.rmtree(tmp_path / "data")
    write_corpus(tmp_path / "data", chinese)
    notes = run_extract(tmp_path, make_params(text__language="auto")).notes
    assert "features: 1 reused, 2 computed (2 text)" in notes
    assert {key: int(sample["tokens_length"]) for key, sample in read_all(root).items()} == {"a": 4, "b": 4, "c": 2}
