"""Chunks of items are bounded; tars of changed bytes are planned by the ids of their items."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clean.cleaned_tars import MAX_BYTES, plan_tars
from pipeline.clean.findings import Findings
from pipeline.incremental.compute_chunk import MAX_ITEMS as CHUNK_ITEMS
from pipeline.incremental.compute_chunk import cut_chunks

pytestmark = pytest.mark.slow


@given(st.lists(st.integers(0, MAX_BYTES + 10), max_size=20), st.integers(0, 600))
def test_chunks_are_bounded_and_cover_all_rows_in_order(sizes: list[int], small: int) -> None:
    items = np.array([*sizes, *[1] * small], np.int64)
    chunks = cut_chunks(items, MAX_BYTES)
    assert [number for chunk in chunks for number in range(chunk.start, chunk.stop)] == list(range(len(items)))
    for chunk in chunks:
        assert 1 <= chunk.stop - chunk.start <= CHUNK_ITEMS
        assert chunk.stop - chunk.start == 1 or items[chunk].sum() <= MAX_BYTES


@given(
    items=st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, MAX_BYTES // 3)), max_size=60),
    sharing=st.integers(1, 60),
    data=st.data(),
)
def test_tars_are_planned_by_ids_and_hold_each_content_once(
    items: list[tuple[bool, bool, int]], sharing: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    contents = [at % sharing for at in range(len(items))]  # numbers of the same content have the same size
    items = [(*item[:2], items[content][2]) for item, content in zip(items, contents, strict=True)]
    findings = Findings(tmp_path_factory.mktemp("findings"), len(items))
    findings.kept[:] = [kept for kept, _, _ in items]
    findings.verdicts["rewritten"] = [rewritten for _, rewritten, _ in items]
    findings.verdicts["size"] = [size for _, _, size in items]
    findings.verdicts["sha256"][:, 0] = contents
    ids = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=len(items), max_size=len(items)))
    prefixes = np.array(sorted(ids), np.uint64)
    plan = plan_tars(findings, prefixes)
    changed = [at for at, (kept, rewritten, _) in enumerate(items) if kept and rewritten]
    first = {contents[at]: at for at in reversed(changed)}
    members = sorted(first.values())
    assert plan.items.tolist() == changed
    assert plan.members.tolist() == members
    assert plan.members[plan.places].tolist() == [first[contents[at]] for at in changed]
    ends: dict[int, int] = {}
    for at, tar, offset in zip(members, plan.tars.tolist(), plan.offsets.tolist(), strict=True):
        assert offset == ends.get(tar, 0) + 512
        ends[tar] = offset + items[at][2] + -items[at][2] % 512
    assert [int(plan.tars[start]) for start in plan.starts[:-1]] == sorted(ends)
    total, count = sum(items[at][2] for at in members), 1
    while count * MAX_BYTES < total:
        count *= 2
    assert plan.tars.tolist() == [int(prefixes[at]) * count >> 64 for at in members]
