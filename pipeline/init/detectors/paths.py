"""Detect layouts that folders and names of files tell: class folders, pairs by name, twin folders, labels in names."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.init.choose_split import propose_given, propose_hash
from pipeline.init.path_roles import PathRoles, find_roles
from pipeline.init.proposal import Detector, Guess, Proposal
from pipeline.init.survey import Survey

MAX_SHOWN = 5

FALLBACK = "files of one kind"


def _describe_values(values: dict[str, int]) -> str:
    shown = ", ".join(sorted(values)[:MAX_SHOWN]) + (", …" if len(values) > MAX_SHOWN else "")
    return f"{len(values)} ({shown})"


def propose_label(roles: PathRoles) -> tuple[dict[str, Guess], list[str]]:
    """Return the keys for the label, the group and the split that paths give, and what cannot be decided."""
    keys, questions = {}, []
    labels, groups = roles.list_values("label"), roles.list_values("group")
    if labels:
        where = "folders" if roles.stem is None else "names of files"
        keys["align.label"] = Guess("path", f"classes, by the {where}: {_describe_values(labels)}")
    else:
        questions.append(NO_LABEL)
    if roles.split is not None:
        keys |= propose_given("path", roles.list_values("split"), "by the folders")
        groups.clear()
    if groups:
        more, faults = propose_hash(groups)
        keys |= more
        questions += faults
        questions.append(
            f"whether the group is one: {_describe_values(groups)}; samples of a group are in one split. If it is not, "
            "write (?:…) in place of (?P<group>…) in the patterns"
        )
    return keys, questions


NO_LABEL = (
    "the label: neither a folder, nor a part of the names, nor a column looks like one. Shards need none, "
    "nor does training the parts of a sample to find each other; a classifier needs align.label"
)


def _propose(layout: str, reason: str, roles: PathRoles, survey: Survey) -> Proposal:
    if roles.split is not None and roles.group is not None:
        roles = replace(roles, group=None)  # the given splits are to hold
    label_keys, questions = propose_label(roles)
    if "2 groups cannot fill three splits" in questions:
        roles = _drop_group(roles)
    keys = {"align.by": Guess("pattern", f"{layout}: {reason}")} | label_keys
    for modality, required in sorted(roles.required.items(), key=lambda pair: pair[0] != roles.main):
        keys[f"align.modalities.{modality}.pattern"] = Guess(roles.build_pattern(modality))
        if not required:
            keys[f"align.modalities.{modality}.required"] = Guess(False, "some samples lack it")
    samples = {roles.name_sample(file) for file in roles.main_files}
    media = survey.list_media()
    used = {file.name for file in roles.files}
    unused = [name for name in media if name not in used]
    return Proposal(layout, len(used) / len(media), reason, keys, len(samples), unused, questions)


def _drop_group(roles: PathRoles) -> PathRoles:
    stem = None if roles.stem is None else replace(roles.stem, group=None)
    return replace(roles, group=None, stem=stem)


def _detect(layout: str, matches: Callable[[PathRoles], bool], describe: Callable[[PathRoles], str]) -> Detector:
    def detect(survey: Survey) -> Proposal | None:
        roles = find_roles(survey.list_media())
        if roles is None or not matches(roles):
            return None
        return _propose(layout, describe(roles), roles, survey)

    return detect


def _name_parts(roles: PathRoles) -> str:
    return " and ".join(sorted(roles.required, key=lambda modality: modality != roles.main))


detect_twin_folders = _detect(
    "pairs in twin folders",
    lambda roles: roles.twin is not None,
    lambda roles: f"{_name_parts(roles)} are in folders of their own and have the same names",
)

detect_pairs = _detect(
    "pairs by name",
    lambda roles: len(roles.required) > 1,
    lambda roles: f"{_name_parts(roles)} of one name, but for the ending",
)

detect_split_folders = _detect(
    "class folders in split folders",
    lambda roles: roles.split is not None and roles.label is not None,
    lambda roles: "the folders are splits, and in them classes",
)

detect_class_folders = _detect(
    "class folders",
    lambda roles: roles.label is not None,
    lambda roles: "each file is in the folder of its class",
)

detect_named_files = _detect(
    "labels in the names of files",
    lambda roles: roles.stem is not None,
    lambda roles: f"the names of the {roles.main} files have parts that repeat",
)

detect_files = _detect(
    FALLBACK, lambda roles: True, lambda roles: f"{roles.main} files, of which names and folders say no more"
)
