"""Read the list of items of a HEIF file: what each is, where its bytes are, its properties, and what it refers to."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Unsupported
from pipeline.formats.iso_boxes import Box, read_fields, walk_boxes

_SIZES = {0: "", 4: "I", 8: "Q"}
"""Of the fields of `iloc`, in bytes."""
MAX_ITEMS = 1 << 16


class Property(NamedTuple):
    """A property of an item, with the content of its box."""

    name: bytes
    content: bytes


@dataclass(eq=False)
class Item:
    """An item of the list.

    Attributes:
        number: its id.
        kind: `av01`, `hvc1`, `grid`, `Exif`, …
        entry: where its kind begins in the list of items, and where its name and all that follows ends.
        extents: where its bytes are in the file.
        properties: of it, in order.
        references: by kind, the numbers of the items that it refers to.
    """

    number: int
    kind: bytes
    entry: tuple[int, int]
    extents: list[tuple[int, int]] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)
    references: dict[bytes, list[int]] = field(default_factory=dict)

    def find(self, name: bytes) -> Property | None:
        """Return the first property of that name."""
        return next((each for each in self.properties if each.name == name), None)

    def list_targets(self, kind: bytes) -> list[int]:
        """Return the numbers of the items that it refers to in this way."""
        return self.references.get(kind, [])

    def read(self, data: bytes) -> bytes:
        """Return its bytes."""
        return b"".join(data[start:end] for start, end in self.extents)

    def forget(self, keep_kind: bool) -> Iterator[tuple[int, bytes]]:
        """Yield the edits that remove its name, and without `keep_kind` make it an item that decoders pass over."""
        start, end = self.entry
        if not keep_kind:
            yield start, b"free"
        yield start + 4, bytes(end - start - 4)


def read_items(data: bytes, meta: Box) -> tuple[int, Mapping[int, Item]]:
    """Return the number of the primary item, and all items by number.

    Raises:
        FormatFault: a box that they need is missing or too short.
        Unsupported: an item's bytes are part of another item, or in another file.
    """
    boxes = {box.name: box for box in reversed(list(walk_boxes(data, meta.body + 4, meta.end)))}
    missing = [name for name in (b"pitm", b"iinf", b"iloc", b"iprp") if name not in boxes]
    if missing:
        raise FormatFault(f"no box {missing[0].decode()}")
    (version,) = read_fields("B", data, boxes[b"pitm"], 0)
    (primary,) = read_fields(">I" if version else ">H", data, boxes[b"pitm"], 4)
    items = _read_list(data, boxes[b"iinf"])
    _read_places(data, boxes, items)
    _read_properties(data, boxes[b"iprp"], items)
    if b"iref" in boxes:
        _read_references(data, boxes[b"iref"], items)
    return primary, items


def _read_list(data: bytes, box: Box) -> dict[int, Item]:
    (version,) = read_fields("B", data, box, 0)
    items: dict[int, Item] = {}
    for entry in walk_boxes(data, box.body + (8 if version else 6), box.end):
        (version,) = read_fields("B", data, entry, 0)
        if entry.name != b"infe" or version < 2:
            continue
        (number,) = read_fields(">I" if version == 3 else ">H", data, entry, 4)
        start = entry.body + (10 if version == 3 else 8)
        if start + 4 > entry.end:
            raise FormatFault("an item of no kind")
        items.setdefault(number, Item(number, data[start : start + 4], (start, entry.end)))
        if len(items) > MAX_ITEMS:
            raise FormatFault("too many items")
    return items


def _read_places(data: bytes, boxes: Mapping[bytes, Box], items: Mapping[int, Item]) -> None:
    box = boxes[b"iloc"]
    (version, sizes) = read_fields(">B3xH", data, box, 0)
    offset, length, base, index = (_SIZES.get(sizes >> shift & 15, "") for shift in (12, 8, 4, 0))
    index = index if version in (1, 2) else ""
    at = 6
    (count,) = read_fields(">I" if version == 2 else ">H", data, box, at)
    at += 4 if version == 2 else 2
    for _ in range(count):
        form = ">" + ("I" if version == 2 else "H") + ("H" if version else "") + "H" + base + "H"
        number, *rest = read_fields(form, data, box, at)
        method = rest[0] & 15 if version else 0
        start, extents = (rest[-2] if base else 0), rest[-1]
        at += struct.calcsize(form)
        form = ">" + index + offset + length
        for _ in range(extents):
            fields = read_fields(form, data, box, at)
            at += struct.calcsize(form)
            place = start + (fields[-2 if length else -1] if offset else 0)
            size = fields[-1] if length else 0
            if number in items:
                items[number].extents.append(_place(boxes, method, place, size))


def _place(boxes: Mapping[bytes, Box], method: int, place: int, size: int) -> tuple[int, int]:
    if method == 0:
        return place, place + size
    if method == 1 and b"idat" in boxes:
        return boxes[b"idat"].body + place, boxes[b"idat"].body + place + size
    raise Unsupported("an item whose bytes are in another item: save it as PNG")


def _read_properties(data: bytes, box: Box, items: Mapping[int, Item]) -> None:
    properties: list[Property] = []
    for part in walk_boxes(data, box.body, box.end):
        if part.name == b"ipco":
            found = walk_boxes(data, part.body, part.end)
            properties = [Property(each.name, data[each.body : each.end]) for each in found]
        elif part.name == b"ipma":
            _read_associations(data, part, properties, items)


def _read_associations(data: bytes, box: Box, properties: list[Property], items: Mapping[int, Item]) -> None:
    version, flags, count = read_fields(">B2xBI", data, box, 0)
    wide, at = flags & 1, 8
    for _ in range(count):
        form = ">IB" if version else ">HB"
        number, uses = read_fields(form, data, box, at)
        at += struct.calcsize(form)
        numbers = read_fields(f">{uses}{'H' if wide else 'B'}", data, box, at)
        at += uses * (2 if wide else 1)
        for each in numbers:
            place = each & (0x7FFF if wide else 0x7F)
            if number in items and 0 < place <= len(properties):
                items[number].properties.append(properties[place - 1])


def _read_references(data: bytes, box: Box, items: Mapping[int, Item]) -> None:
    (version,) = read_fields("B", data, box, 0)
    letter = "I" if version else "H"
    for part in walk_boxes(data, box.body + 4, box.end):
        number, count = read_fields(f">{letter}H", data, part, 0)
        targets = read_fields(f">{count}{letter}", data, part, struct.calcsize(f">{letter}H"))
        if number in items:
            items[number].references.setdefault(part.name, []).extend(targets)
