"""What is found of folders and names holds for the files: each is matched by the pattern of its modality."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.init.path_roles import find_roles

PIECES = st.sampled_from(
    ["train", "dev", "testing", "train-clean-100", "val2017", "images", "texts", "cat", "dog", "cow", "a.b", "x_1", "7"]
)
STEMS = st.sampled_from(["cat_ann_1", "cat_bob_2", "dog_ann_3", "dog_bob_4", "cat-1", "dog2", "n", "1", "2", "n_said"])
ENDINGS = st.sampled_from([".png", ".JPG", ".wav", ".txt", ".mp4", ".docx", ""])
PATHS = st.builds(
    lambda folders, stem, ending: "/".join([*folders, stem + ending]), st.lists(PIECES, max_size=3), STEMS, ENDINGS
)


@given(st.lists(PATHS, unique=True, max_size=40))
@settings(max_examples=60)
def test_patterns_match_the_files_that_they_are_of(names: list[str]) -> None:
    roles = find_roles(names)
    if roles is None:
        return
    assert roles.required[roles.main]
    for file in roles.files:
        match = re.fullmatch(roles.build_pattern(file.modality), file.name)
        assert match is not None
        assert match["key"] == roles.name_sample(file)
        assert re.fullmatch(roles.build_pattern(file.modality, key=False), file.name)


def make_names(pattern: str, kinds: tuple[str, ...] = ("cat", "dog"), count: int = 4) -> list[str]:
    return [pattern.format(kind=kind, number=number) for kind in kinds for number in range(count)]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["{kind}/{number}.jpg"], {"image": r"(?P<key>(?P<label>[^/]+)/[^/]+)\.jpg"}),
        (["{kind}/x{number}.jpg", "{kind}/b/{number}.jpg"], {"image": r"(?P<key>(?P<label>[^/]+)/.+)\.jpg"}),
        (["{kind}{number}.jpg"], {"image": r"(?P<key>(?P<label>[^/]*[^\d/_ -])[_ -]?\d+)\.jpg"}),
        (
            ["img/{kind}-{number}.jpg", "txt/{kind}-{number}.txt"],
            {
                "image": r"img/(?P<key>(?P<label>[^\-/]+)\-[^/]+)\.jpg",
                "text": r"txt/(?P<key>(?P<label>[^\-/]+)\-[^/]+)\.txt",
            },
        ),
        (
            ["{kind}/{number}.png", "{kind}/{number}_said.ogg"],
            {
                "image": r"(?P<key>(?P<label>[^/]+)/[^/]+)\.png",
                "audio": r"(?P<key>(?P<label>[^/]+)/[^/]+)_said\.ogg",
            },
        ),
        (
            ["train2017/{kind}/{number}.jpg", "val2017/{kind}/{number}.jpg"],
            {"image": r"(?P<key>(?P<split>train|val)[^/]*/(?P<label>[^/]+)/[^/]+)\.jpg"},
        ),
        (["{number}{kind}.jpg"], {"image": r"(?P<key>[^/]+)\.jpg"}),
    ],
)
def test_patterns_of_layouts(patterns: list[str], expected: dict[str, str]) -> None:
    roles = find_roles([name for pattern in patterns for name in make_names(pattern)])
    assert roles is not None
    assert {modality: roles.build_pattern(modality) for modality in sorted(roles.required)} == dict(
        sorted(expected.items())
    )
