"""The plan of the demo: every flaw is planted and counted, and captions are as described."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.composition import Balloon, count_balloons
from demo.flaws import EXPECTED, ORIENTATIONS, PLANTINGS, Flaw, count_planted
from demo.kinds import KINDS, Manner, Place
from demo.motifs import MOTIFS
from demo.plan import VAGUE_SHARE
from demo.scenery import PLACES
from demo.sound import TIMBRES
from tests.demo.demo_site import describe, make_site

pytestmark = pytest.mark.slow


def test_every_flaw_has_a_rate_and_an_expectation() -> None:
    assert set(EXPECTED) == set(PLANTINGS) == set(Flaw)
    assert sorted(ORIENTATIONS.values()) == list(range(1, 9))
    for expected in EXPECTED.values():
        assert (expected.fate == "dropped") == (expected.reason is not None)


@settings(max_examples=12)
@given(things=st.integers(60, 700), seed=st.integers(0, 2**32 - 1))
def test_the_planned_number_of_each_flaw_is_planted(things: int, seed: int) -> None:
    site = make_site(things, seed)
    assert len(site.things) == things
    assert site.count_flaws() == {flaw: count_planted(flaw, things) for flaw in Flaw}
    for thing in site.things:
        breaking = [flaw for flaw in thing.flaws if EXPECTED[flaw].loses_thing or EXPECTED[flaw].part == "page"]
        assert not breaking or len(thing.flaws) == 1
        if thing.copy_of is not None:
            original = site.things[thing.copy_of]
            assert original.flaws == ()
            assert original.kind is thing.kind


@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_plan_is_a_function_of_the_seed(seed: int) -> None:
    assert make_site(60, seed) == make_site(60, seed)
    assert make_site(60, seed) != make_site(60, (seed + 1) % 2**32)


def test_captions_are_sentences_and_name_the_thing_only_where_clear() -> None:
    clear, shortest, longest = 0, 99, 0
    things = [thing for thing in make_site(5000).things if thing.caption and not thing.secrets]
    for thing in things:
        words = len(thing.caption.split())
        shortest, longest = min(shortest, words), max(longest, words)
        clear += any(noun in thing.caption.lower() for noun in thing.kind.nouns)
    assert shortest >= 8
    assert longest <= 25
    assert abs(clear / len(things) - (1 - VAGUE_SHARE)) < 0.05


def test_names_and_addresses_are_invented() -> None:
    for thing in make_site(600).things:
        for secret in thing.secrets:
            assert re.search(r"example\.org$", secret, re.I) or re.search(r"555.01\d\d$", secret), secret
            assert secret in thing.caption + thing.comment


def test_alt_texts_say_what_is_drawn_and_never_the_kind() -> None:
    things = [thing for thing in make_site(1200).things if thing.picture and thing.copy_of is None]
    alts = [describe(thing) for thing in things]
    assert len(set(alts)) > 0.8 * len(alts)
    names = {name for kind in KINDS for name in (kind.name, *kind.nouns)}
    assert not [name for name in names if re.search(rf"\b{name}\b", "\n".join(alts), re.IGNORECASE)]
    for thing, alt in zip(things, alts, strict=True):
        assert thing.picture is not None
        assert 5 <= len(alt.split()) <= 26
        assert ("something" in alt) == (thing.picture.fog is None)
        assert ("balloon" in alt) == (thing.picture.composition.balloons != ())


@pytest.mark.parametrize(
    ("balloons", "text"),
    [
        ([Balloon.RED], "one red balloon"),
        ([Balloon.BLUE, Balloon.BLUE], "two blue balloons"),
        ([Balloon.BLUE, Balloon.RED], "one red and one blue balloons"),
        ([Balloon.GREEN, Balloon.RED, Balloon.GREEN, Balloon.PURPLE], "one red, two green and one purple balloons"),
    ],
)
def test_balloons_are_counted_by_colour(balloons: list[Balloon], text: str) -> None:
    assert count_balloons(tuple(balloons)) == text


def test_place_and_manner_together_name_a_kind() -> None:
    assert len({(kind.place, kind.manner) for kind in KINDS}) == len(KINDS) == len({kind.name for kind in KINDS}) == 12
    assert set(MOTIFS) == {kind.name for kind in KINDS}
    assert set(TIMBRES) == {kind.name for kind in KINDS} | set(Manner)
    assert set(PLACES) == set(Place)


def test_every_kind_has_as_many_things() -> None:
    counts = {
        kind.name: sum(thing.kind is kind and thing.copy_of is None for thing in make_site(600).things)
        for kind in KINDS
    }
    assert max(counts.values()) - min(counts.values()) <= 8
