"""Labels of samples: every sample has one, and all its items agree, or it is dropped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline.align.build_samples import Sample
from pipeline.align.params import AlignParams
from pipeline.tables.drops import Drop, Reason, Rejection


def label_samples(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """The samples with the label that their items give, and drops for those without a clear one."""
    if params.label == "none":
        return list(samples), []
    labelled: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        label = _choose_label(sample, params.classes)
        if isinstance(label, Rejection):
            drops += sample.drop(label)
        else:
            labelled.append(replace(sample, label=label))
    return labelled, drops


def _choose_label(sample: Sample, classes: Sequence[str] | None) -> str | Rejection:
    labels = sorted({part.label for part in sample.parts.values() if part.label})
    if not labels:
        return Rejection(Reason.MISSING_LABEL, "none of its sample's items has a label")
    if len(labels) > 1:
        return Rejection(Reason.AMBIGUOUS_LABEL, "its sample's items have several labels", ", ".join(labels), "1")
    if classes is not None and labels[0] not in classes:
        return Rejection(Reason.UNKNOWN_LABEL, "its sample's label is not in align.classes", labels[0])
    return labels[0]


def find_rare(samples: Sequence[Sample], min_samples: int) -> dict[str, Rejection]:
    """For each label that fewer than `min_samples` samples have, the verdict on them."""
    counts = Counter(sample.label for sample in samples if sample.label is not None)
    return {
        label: Rejection(
            Reason.RARE_LABEL, f"few samples have its label {label!r} (align.min_samples)", str(count), str(min_samples)
        )
        for label, count in counts.items()
        if count < min_samples
    }
