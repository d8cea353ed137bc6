"""Find what the folders and names of files say: which folder is the split, the label, the group or the modality."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

from pipeline.align.given_splits import SPELLINGS
from pipeline.init.file_kinds import MODALITY_ENDINGS, name_kind, split_stem

ENOUGH = 0.5
"""The share of a modality's files that must belong to files of the main one, for it to be a part of the samples."""

REQUIRED = 0.9
"""The share of samples that must have a part, for it to be required."""


@dataclass(frozen=True)
class NamedFile:
    """The path of a file, taken apart; what its modality has in common behind the stem is in the ending."""

    name: str
    folders: tuple[str, ...]
    stem: str
    ending: str
    modality: str


def take_apart(names: Iterable[str], depth: int) -> list[NamedFile]:
    """Return the parts of the paths of files that are `depth` folders deep or deeper: further ones are in the stem."""
    files = []
    for name in names:
        stem, ending = split_stem(name)
        pieces = PurePosixPath(stem).parts
        if len(pieces) > depth:
            files.append(NamedFile(name, pieces[:depth], "/".join(pieces[depth:]), ending, name_kind(name)))
    return files


@dataclass(frozen=True)
class StemRoles:
    """What the parts of a file's name are: `cat_ann_3` has three, between underscores.

    Attributes:
        separator: what stands between the parts; empty: the label is all before the last number.
        count: of parts.
        label: the place of the label.
        group: the place of the group, or None.
    """

    separator: str
    count: int
    label: int
    group: int | None = None


@dataclass(frozen=True)
class PathRoles:
    """What the folders and names of files are; places of folders count from the root.

    Attributes:
        files: those that are explained.
        main: the modality that has most files.
        required: by modality, whether every sample must have one.
        twin: the place of the folders that are called after what they hold, a modality each.
        split: the place of the split.
        label: the place of the label.
        group: the place of the group.
        stem: of the names, where no folder is the label.
    """

    files: Sequence[NamedFile]
    main: str
    required: dict[str, bool]
    twin: int | None
    split: int | None
    label: int | None
    group: int | None
    stem: StemRoles | None

    def name_sample(self, file: NamedFile) -> str:
        """Return the key of a file's sample."""
        return _name_sample(file, self.twin)

    @cached_property
    def main_files(self) -> list[NamedFile]:
        """Return the files of the main modality."""
        return [file for file in self.files if file.modality == self.main]

    def list_values(self, role: str) -> Counter[str]:
        """Return how many samples have each value of the role `split`, `label` or `group`."""
        place = getattr(self, role)
        if role == "split" and place is not None:
            return Counter(_read_split(file.folders[place]) for file in self.main_files)
        if place is not None:
            return Counter(file.folders[place] for file in self.main_files)
        if self.stem is None or role == "split" or (role == "group" and self.stem.group is None):
            return Counter()
        pattern = re.compile(build_stem_pattern(self.stem))
        found = (pattern.fullmatch(file.stem) for file in self.main_files)
        return Counter(match[role] for match in found if match)

    def build_pattern(self, modality: str, key: bool = True) -> str:
        """Return the pattern of the files of a modality, with the named groups of the roles."""
        files = [file for file in self.files if file.modality == modality]
        pieces = [self._build_folder(place, files) for place in range(len(files[0].folders))]
        deep = any("/" in file.stem for file in self.files)
        stem = build_stem_pattern(self.stem) if self.stem else ".+" if deep else "[^/]+"
        start = 0 if self.twin is None else self.twin + 1
        before, inside = pieces[:start], [*pieces[start:], stem]
        endings = sorted({re.escape(file.ending) for file in files})
        ending = endings[0] if len(endings) == 1 else f"(?:{'|'.join(endings)})"
        body = "/".join(inside)
        return "".join(f"{piece}/" for piece in before) + (f"(?P<key>{body})" if key else body) + ending

    def _build_folder(self, place: int, files: Sequence[NamedFile]) -> str:
        if place == self.split and any(file.folders[place] != _read_split(file.folders[place]) for file in self.files):
            return f"(?P<split>{'|'.join(sorted({_read_split(file.folders[place]) for file in self.files}))})[^/]*"
        for role in ("split", "label", "group"):
            if getattr(self, role) == place:
                return f"(?P<{role}>[^/]+)"
        if place == self.twin:
            names = sorted({re.escape(file.folders[place]) for file in files})
            return names[0] if len(names) == 1 else f"(?:{'|'.join(names)})"
        return "[^/]+"


def build_stem_pattern(roles: StemRoles) -> str:
    """Return the pattern of a name's parts."""
    if not roles.separator:
        return r"(?P<label>[^/]*[^\d/_ -])[_ -]?\d+"
    part = f"[^{re.escape(roles.separator)}/]+"
    pieces = [part] * roles.count
    pieces[-1] = "[^/]+"
    pieces[roles.label] = f"(?P<label>{part})"
    if roles.group is not None:
        pieces[roles.group] = f"(?P<group>{part})"
    return re.escape(roles.separator).join(pieces)


def _name_sample(file: NamedFile, twin: int | None) -> str:
    return "/".join([*(file.folders if twin is None else file.folders[twin + 1 :]), file.stem])


def find_roles(names: Iterable[str]) -> PathRoles | None:
    """Return what the folders and names of these files are; None where there are no files of a modality."""
    media = [name for name in names if name_kind(name) in MODALITY_ENDINGS]
    if not media:
        return None
    counts = Counter(map(name_kind, media))
    tried = [_find_parts(media, main) for main in sorted(counts, key=lambda modality: (-counts[modality], modality))]
    parts = max(tried, key=lambda each: (len(each.files), each.main != "text"))
    files, twin = parts.files, parts.twin
    first = [file for file in files if file.modality == parts.main]
    free = [place for place in range(len(first[0].folders)) if place != twin]
    split = next((place for place in free if _is_split({file.folders[place] for file in first})), None)
    varying = [place for place in free if place != split and is_repeated([file.folders[place] for file in first])]
    label = varying[0] if varying else None
    group = varying[1] if len(varying) > 1 else None
    stem = find_stem_roles([file.stem for file in first]) if label is None else None
    if stem is not None:
        pattern = re.compile(build_stem_pattern(stem))
        files = [file for file in files if pattern.fullmatch(file.stem)]
    return PathRoles(files, parts.main, parts.required, twin, split, label, group, stem)


@dataclass(frozen=True)
class _Parts:
    """The files of samples that each have one of a main modality, and which others are required."""

    main: str
    twin: int | None
    files: list[NamedFile]
    required: dict[str, bool]


def _find_parts(media: Sequence[str], main: str) -> _Parts:
    depths = [len(PurePosixPath(name).parent.parts) for name in media if name_kind(name) == main]
    depth, same = Counter(depths).most_common(1)[0]
    fixed = same >= REQUIRED * len(depths)
    if not fixed:
        depth = sorted(depths)[int((1 - REQUIRED) * len(depths))]
    files = [file for file in take_apart(media, depth) if not fixed or "/" not in file.stem]
    twin = _find_twin(files, depth, main)
    return _Parts(main, twin, *_select_parts(_strip_suffixes(files, main, twin), main, twin))


def _strip_suffixes(files: Sequence[NamedFile], main: str, twin: int | None) -> list[NamedFile]:
    """Return the files with what each modality has behind the main one's stems in the ending: `cat_said.wav` for
    `cat.png`."""
    keys = {_name_sample(file, twin) for file in files if file.modality == main}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        key = _name_sample(file, twin)
        for cut in [len(key), *(match.start() for match in re.finditer(r"[_.-]", key))]:
            if key[:cut] in keys:
                counts[file.modality][key[cut:]] += 1
    best = {modality: max(found, key=lambda each: (found[each], -len(each))) for modality, found in counts.items()}
    stripped = []
    for file in files:
        suffix = best.get(file.modality, "")
        if file.modality == main or not suffix:
            stripped.append(file)
        elif file.stem.endswith(suffix):
            stripped.append(replace(file, stem=file.stem.removesuffix(suffix), ending=suffix + file.ending))
    return stripped


def _find_twin(files: Sequence[NamedFile], depth: int, main: str) -> int | None:
    """Return the place of folders that hold a modality each, files of which belong together by the rest of their
    paths."""
    for place in range(depth):
        held: dict[str, set[str]] = defaultdict(set)
        for file in files:
            held[file.folders[place]].add(file.modality)
        if any(len(modalities) > 1 for modalities in held.values()) or len(set.union(*held.values())) < 2:
            continue
        keys = {file.name: _name_sample(file, place) for file in files}
        first = [keys[file.name] for file in files if file.modality == main]
        other = [keys[file.name] for file in files if file.modality != main]
        if len(set(first)) == len(first) and len(set(first) & set(other)) >= ENOUGH * len(set(other)):
            return place
    return None


def _select_parts(files: Sequence[NamedFile], main: str, twin: int | None) -> tuple[list[NamedFile], dict[str, bool]]:
    """Return the files of the modalities that belong to samples, and which of those are required."""
    keys: dict[str, set[str]] = defaultdict(set)
    for file in files:
        keys[file.modality].add(_name_sample(file, twin))
    required = {}
    for modality, theirs in keys.items():
        common = len(theirs & keys[main])
        if common >= ENOUGH * len(theirs):
            required[modality] = common >= REQUIRED * len(keys[main])
    used = [file for file in files if file.modality in required and _name_sample(file, twin) in keys[main]]
    return used, required


def _read_split(folder: str) -> str:
    """Return the first word of a folder's name: `train` of `train2017`."""
    match = re.match(r"[A-Za-z]+", folder)
    return match[0] if match else folder


def _is_split(values: set[str]) -> bool:
    found = {SPELLINGS.get(_read_split(value).lower()) for value in values}
    return len(found) > 1 and None not in found and "train" in found


def is_repeated(values: Sequence[str]) -> bool:
    """Return whether values may be labels or groups: several, each twice or more on the average."""
    return 2 <= len(set(values)) <= len(values) / 2


def find_stem_roles(stems: Sequence[str]) -> StemRoles | None:
    """Return what the parts of names are, if one of them may be a label."""
    for separator in "_- ":
        lists = [stem.split(separator) for stem in stems]
        count, named = Counter(map(len, lists)).most_common(1)[0]
        if count < 2 or named < REQUIRED * len(stems):
            continue
        columns = [[parts[place] for parts in lists if len(parts) == count] for place in range(count)]
        places = [place for place in range(count) if is_repeated(columns[place])]
        label = next((place for place in places if place == 0 or not all(map(str.isdigit, columns[place]))), None)
        if label is None:
            continue
        group = next((place for place in places if place != label and not all(map(str.isdigit, columns[place]))), None)
        return StemRoles(separator, count, label, group)
    prefixes = [match[1] for stem in stems if (match := re.fullmatch(r"(.*[^\d_ -])[_ -]?\d+", stem))]
    if len(prefixes) >= REQUIRED * len(stems) and is_repeated(prefixes):
        return StemRoles("", 0, 0)
    return None
