"""Label samples: drop those whose items have no label or several."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipeline.align.build_samples import Sample
from pipeline.align.params import AlignParams
from pipeline.tables.drops import Drop, Reason, Rejection


def label_samples(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """Return the samples with the label that their items agree on, and drops for those without a clear one."""
    if params.label == "none":
        return list(samples), []
    labelled: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        label = _choose_label(sample, params)
        if isinstance(label, Rejection):
            drops += sample.drop(label)
        else:
            labelled.append(replace(sample, label=label))
    return labelled, drops


def _choose_label(sample: Sample, params: AlignParams) -> str | Rejection:
    labels = sorted({part.label for part in sample.parts.values() if part.label})
    if not labels:
        detail = "none of its sample's items has a label"
        return Rejection(Reason.MISSING_LABEL, detail, limit=params.label, setting="align.label")
    if len(labels) > 1:
        detail = "its sample's items have several labels"
        return Rejection(Reason.AMBIGUOUS_LABEL, detail, ", ".join(labels), params.label, "align.label")
    if params.classes is not None and labels[0] not in params.classes:
        detail = "its sample's label is not among the classes"
        return Rejection(Reason.UNKNOWN_LABEL, detail, labels[0], ", ".join(params.classes), "align.classes")
    return labels[0]


def find_rare(samples: Sequence[Sample], min_samples: int) -> dict[str, Rejection]:
    """Return a rejection for each label that fewer than `min_samples` samples have."""
    counts = Counter(sample.label for sample in samples if sample.label is not None)
    return {
        label: Rejection(
            Reason.RARE_LABEL,
            f"samples with its label {label!r}",
            str(count),
            str(min_samples),
            "align.min_samples",
        )
        for label, count in counts.items()
        if count < min_samples
    }
