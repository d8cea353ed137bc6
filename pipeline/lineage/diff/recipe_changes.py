"""Compare how two datasets were made: params, code, libraries, fields, classes and vocabulary."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.lineage.diff.open_dataset import ComparedDataset
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.manifest import Manifest

ABSENT = "nothing"


@dataclass(frozen=True)
class Change:
    """One change, with the old and the new value as text.

    Attributes:
        kind: param, field, classes, vocabulary, sources, code, python or library.
        name: the full key of a param, or the name of a field or library.
    """

    kind: str
    name: str
    old: str
    new: str

    def __str__(self) -> str:
        # Two hashes, or two long lists, mean nothing to people.
        if self.kind in ("code", "vocabulary", "classes", "sources"):
            return f"{self.name} changed"
        return f"{'field ' if self.kind == 'field' else ''}{self.name}: {self.old} -> {self.new}"


def find_changes(old: ComparedDataset, new: ComparedDataset) -> list[Change]:
    """Return all changes in how the shards were made, in a fixed order."""
    return [
        *_compare("param", _list_params(old), _list_params(new)),
        *_compare("field", _list_fields(old.manifest), _list_fields(new.manifest)),
        *_compare("classes", *({"classes": _show(each.manifest.classes)} for each in (old, new))),
        *_compare("vocabulary", *({"vocabulary": _find_vocabulary(each.manifest)} for each in (old, new))),
        *_compare(
            "sources",
            *({"sources or licences": each.manifest.hashes.get("sources_hash", ABSENT)} for each in (old, new)),
        ),
        *_compare_records(old.record, new.record),
    ]


def _compare_records(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterator[Change]:
    """Yield the changes that only the records of extract contain; none where a record is missing."""
    if old is None or new is None:
        return
    yield from _compare("code", {"code": str(old.get("source"))}, {"code": str(new.get("source"))})
    yield from _compare("python", {"python": str(old.get("python"))}, {"python": str(new.get("python"))})
    libraries = (
        {name: str(version) for name, version in dict(record.get("libraries", {})).items()} for record in (old, new)
    )
    yield from _compare("library", *libraries)


def _compare(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if before != after:
            yield Change(kind, name, before, after)


def _list_params(dataset: ComparedDataset) -> dict[str, str]:
    """Return the block `extract` by full keys: from the record, or else those that the manifest has."""
    known = dataset.record.get("params") if dataset.record else (dataset.manifest.extract or {}).get("params")
    return dict(_flatten("extract", known)) if isinstance(known, Mapping) else {}


def _flatten(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flatten(f"{name}.{key}", inner)
    else:
        yield name, _show(value)


def _list_fields(manifest: Manifest) -> dict[str, str]:
    return {name: f"{field.dtype} {list(field.shape)}" for name, field in manifest.fields.items()}


def _find_vocabulary(manifest: Manifest) -> str:
    return manifest.vocabulary.sha256 if manifest.vocabulary else ABSENT


def _show(value: object) -> str:
    return encode_canonical(value).decode()
