"""Texts: one normal form, no personal data, in linear time; tokens and a vocabulary that are always the same."""

import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.modalities.modality import Checked, MediaItem
from pipeline.modalities.text.check import check_text, normalize_text
from pipeline.modalities.text.decode import decode_tokens
from pipeline.modalities.text.modality import count_parsed, extract_text, learn_tokens
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text, prepare_text, split_text
from pipeline.modalities.text.placeholders import EMAIL, split_placeholders
from pipeline.modalities.text.rules import TextCheck
from pipeline.modalities.text.vocabulary import count_words, encode_words, learn_vocabulary
from pipeline.modalities.text.words import load_tokenizer
from pipeline.tables.drops import Reason, Rejection

pytestmark = pytest.mark.slow

CHECK = TextCheck()
FEATURES = TextFeatures(language="en", fallback=None, lowercase=True, length=8, vocabulary=100, min_count=1)
ROOT = Path(__file__).parents[2]


def clean(text: str) -> tuple[str, int]:
    checked = check_text(text.encode(), "text/plain", CHECK)
    assert isinstance(checked, Checked)
    assert checked.facts["characters"] == len(checked.data.decode())
    return checked.data.decode(), sum(checked.redactions.values())


def reject(data: bytes, params: TextCheck = CHECK) -> Reason:
    rejection = check_text(data, "text/plain", params)
    assert isinstance(rejection, Rejection)
    return rejection.reason


def plan(language: str = "en", fallback: str | None = None, **more: object) -> TextFeatures:
    return TextFeatures.model_validate({**FEATURES.model_dump(), "language": language, "fallback": fallback, **more})


# characters


@settings(max_examples=300)
@given(
    st.text(
        st.one_of(
            st.characters(exclude_categories=["Cs"]), st.sampled_from("e\u0301\u200d\u200c\u200b\u212a 1\u0628\u0915")
        )
    )
)
def test_normal_form_is_reached_at_once(text: str) -> None:
    normal = normalize_text(text)
    assert normalize_text(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip()
    assert "  " not in normal
    assert not [char for char in normal if unicodedata.category(char) == "Cc"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  a\t\tb\r\n c\u00a0d\u3000e ", "a b c d e"),
        ("e\u0301", "é"),
        ("a\u200bb\u00adc\ufeffd\u2060e", "abcde"),
        ("\u202eevil\u202c \u2066x\u2069", "evil x"),
        ("a\0b\x07c\x7fd\x9fe", "abcde"),
        ("jane\u200d@x.org", "jane@x.org"),
        ("5\u200c5", "55"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("👩\u200d🚀 flies", "👩\u200d🚀 flies"),
        ("کتاب \u200c\u200d خوب", "کتاب خوب"),
    ],
)
def test_invisible_characters_go_and_joiners_stay_where_they_join(text: str, normal: str) -> None:
    assert normalize_text(text) == normal


# verdicts


def test_reasons_are_named() -> None:
    assert reject(b"\xff\xfea\0") is Reason.NOT_UTF8
    assert reject(b"\xed\xa0\x80") is Reason.NOT_UTF8  # a surrogate
    assert reject(b"\xc0\xaf") is Reason.NOT_UTF8  # overlong
    assert reject(b" \n\t") is Reason.EMPTY
    assert reject("\u200b\u202e".encode()) is Reason.EMPTY
    assert reject(b"a") is Reason.TOO_SHORT
    assert reject(b"a" * 100_001) is Reason.TOO_LONG
    assert clean("\ufeffcat") == ("cat", 0)


def test_unchanged_bytes_are_the_same_object() -> None:
    data = "Ein Kätzchen.".encode()
    checked = check_text(data, "text/plain", CHECK)
    assert isinstance(checked, Checked)
    assert checked.data is data


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("A cat.", "a  CAT!", True), ("A cat", "A dog", False), ("कि", "का", False), ("Straße 1", "STRASSE 1", True),
        ("cat fish", "catfish", False), ("!!!", "???", False), ("😀😀", "😡😡", False), ("l'été", "L’ÉTÉ", True),
    ],
)  # fmt: skip
def test_texts_with_the_same_words_are_near(one: str, other: str, near: bool) -> None:
    prints = []
    for text in (one, other):
        checked = check_text(text.encode(), "text/plain", CHECK)
        assert isinstance(checked, Checked)
        assert checked.perceptual_hash.thumbnail == b""
        prints.append(checked.perceptual_hash.bits)
    assert (prints[0] == prints[1]) is near


# tokens


def item(text: str) -> MediaItem:
    return MediaItem(text.encode(), "text/plain")


def test_words_are_spacys_and_placeholders_one_each() -> None:
    assert split_text("Don't mail [EMAIL], call:[PHONE]!", plan()) == [
        "do", "n't", "mail", "[EMAIL]", ",", "call", ":", "[PHONE]", "!",
    ]  # fmt: skip
    assert split_text("A Cat", plan(lowercase=False)) == ["A", "Cat"]
    assert split_text("", plan()) == []


def test_vocabulary_is_by_frequency_then_code_point() -> None:
    counts = {"b": 2, "a": 2, "z": 5, "once": 1, "<pad>": 9, "é": 2}
    assert learn_vocabulary(counts, plan(min_count=2)) == {"words": ["<pad>", "<unk>", "z", "a", "b", "é"]}
    assert learn_vocabulary(counts, plan(min_count=1, vocabulary=2)) == {"words": ["<pad>", "<unk>", "z", "a"]}
    assert learn_vocabulary({}, plan()) == {"words": ["<pad>", "<unk>"]}


@settings(max_examples=50)
@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 5)), st.randoms(use_true_random=False))
def test_vocabulary_does_not_depend_on_the_order_of_counting(counts: dict[str, int], rng: random.Random) -> None:
    shuffled = list(counts.items())
    rng.shuffle(shuffled)
    assert learn_vocabulary(dict(shuffled), FEATURES) == learn_vocabulary(counts, FEATURES)


def test_ids_are_places_in_the_vocabulary() -> None:
    learned = learn_vocabulary(count_words(parse_text(item("the cat and the dog"), FEATURES), FEATURES), FEATURES)
    assert learned["words"] == ["<pad>", "<unk>", "the", "and", "cat", "dog"]
    arrays = extract_text(item("The dog and the axolotl"), FEATURES, learned)
    assert arrays["tokens"].tolist() == [2, 5, 3, 2, 1, 0, 0, 0]
    assert arrays["tokens_length"] == 5
    long = extract_text(item("cat " * 20), FEATURES, learned)
    assert long["tokens"].tolist() == [4] * 8
    assert long["tokens_length"] == 8
    assert count_words(parse_text(item("cat " * 20), FEATURES), FEATURES) == {"cat": 8}


def test_another_vocabulary_gives_other_ids() -> None:
    for words, ids in ((["<pad>", "<unk>", "cat"], [2, 1]), (["<pad>", "<unk>", "dog", "cat"], [3, 2])):
        arrays = extract_text(item("cat dog"), FEATURES, {"words": words})
        assert arrays["tokens"][:2].tolist() == ids


def test_the_string_store_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    load_tokenizer.cache_clear()
    first = load_tokenizer("xx", None)
    limit = len(first.vocab.strings) + 30
    monkeypatch.setattr("pipeline.modalities.text.words.MAX_STRINGS", limit)
    sizes = []
    for number in range(100):
        assert split_text(f"Neverseen{number}!", plan("xx")) == [f"neverseen{number}", "!"]
        sizes.append(len(load_tokenizer("xx", None).vocab.strings))
    assert max(sizes) <= limit
    assert load_tokenizer("xx", None) is not first


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*"aA.,:;'()[]-/@#5é😀", "don't", "a.m.", ":)", "x)(", " ", "U.S.", "ing", EMAIL])))
def test_words_that_were_seen_before_are_split_as_if_they_were_not(pieces: list[str]) -> None:
    text = "".join(pieces)
    nlp, fresh = load_tokenizer("en", None), list[str]()
    with nlp.memory_zone():  # nothing is kept in here
        for part in split_placeholders(text):
            tokens = [token.text for token in nlp.tokenizer(part) if not token.is_space]
            fresh += [part] if part == EMAIL else tokens
    for _ in range(2):
        assert split_text(text, plan(lowercase=False)) == fresh


@pytest.mark.parametrize("language", ["en", "xx", "de", "es", "ar", "zh"])
def test_languages_that_need_nothing_more_can_be_prepared(language: str) -> None:
    prepare_text(plan(language))


def find_missing_language() -> str:
    import spacy

    for language in ("vi", "th", "ja", "ko"):
        try:
            spacy.blank(language)
        except ImportError:
            return language
    pytest.skip("every tokenizer's package is installed")


def test_a_language_whose_package_is_missing_is_named_with_the_settings() -> None:
    language = find_missing_language()
    with pytest.raises(
        InputError, match=rf"extract\.text\.language is '{language}'.*needs \w+.*extract\.text\.fallback"
    ):
        prepare_text(plan(language))
    prepare_text(plan(language, "xx"))
    assert split_text("a b", plan(language, "xx")) == ["a", "b"]


def test_an_unknown_language_is_an_error_even_with_a_fallback() -> None:
    with pytest.raises(InputError, match=r"extract\.text\.language is 'qq'"):
        prepare_text(plan("qq", "xx"))
    with pytest.raises(InputError, match=r"extract\.text\.fallback is 'qq'"):
        prepare_text(plan("en", "qq"))


@pytest.mark.parametrize("seed", ["0", "1"])
def test_output_does_not_depend_on_the_hash_seed(seed: str) -> None:
    code = (
        "from collections import Counter; from pipeline.modalities.text.check import *\n"
        "from pipeline.modalities.text.vocabulary import *\n"
        "c = TextCheck(min_characters=1, max_characters=99, redact=('email',))\n"
        "k = check_text(b'Two cats, a@b.org', 'text/plain', c)\n"
        "f = TextFeatures(language='xx', fallback=None, lowercase=True, length=4, vocabulary=9, min_count=1)\n"
        "print(k.data, k.perceptual_hash.bits, learn_vocabulary(Counter(k.data.decode().split()), f))\n"
    )
    how = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], env=how, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "b'Two cats, [EMAIL]' 6231389569426202173 {'words': ['<pad>', '<unk>', 'Two', '[EMAIL]', 'cats,']}\n"
    )


def test_a_tokenizer_needs_no_torch_and_hides_it_from_nobody() -> None:
    code = """
import sys
from pipeline.modalities.text.words import load_tokenizer
assert [token.text for token in load_tokenizer("en", None)("Don't!")] == ["Do", "n't", "!"]
assert "torch" not in sys.modules
import torch
assert torch.ones(1).item() == 1
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("tokenizer", "text"), [("words", "the cat sat"), ("bpe", "The  cat, [EMAIL] \U0001f600\n")])
def test_ids_are_turned_back_into_texts(tokenizer: str, text: str) -> None:
    params = TextFeatures(tokenizer=tokenizer, lowercase=False, min_count=1, length=60)
    learned = learn_tokens(count_parsed(parse_text(item(text), params), params), params)
    fields = extract_text(item(text), params, learned)
    ids = fields["tokens"][: int(fields["tokens_length"])].tolist()
    assert decode_tokens(ids, params, learned) == text
    assert decode_tokens([*ids, 0], params, learned).startswith(text)


def test_a_token_that_is_spelled_as_padding_is_unknown() -> None:
    assert encode_words(["<pad>", "<unk>", "a"], FEATURES, {"words": ["<pad>", "<unk>", "a"]}).arrays["tokens"][
        :3
    ].tolist() == [1, 1, 2]
