"""What stands beside a sample's arrays, as JSON: which things it is made of, where they came from, what they say."""

from typing import Any

from pipeline.extract.samples import AlignedSample

MAX_CAPTION = 1000
"""Characters of a text that the meta keeps: every meta of a shard is padded to the longest, so one book would be
paid for by all. The median caption of stamps has 34 characters, its longest 197."""


def describe_sample(sample: AlignedSample, caption: str | None) -> dict[str, Any]:
    """The meta of a sample: `key`, `split`, `group`, `label` by name, `caption`, and `items` by modality.

    An item has what is known of `id`, `source`, `file`, `part`, `url`, `language`, `licence`, `attribution`, and
    `start` and `end` in seconds where the sample is only a part of it. What is unknown is left out.
    """
    meta: dict[str, Any] = {"key": sample.key, "split": sample.split, "group": sample.group}
    if sample.label is not None:
        meta["label"] = sample.label
    if caption is not None:
        meta["caption"] = caption if len(caption) <= MAX_CAPTION else caption[: MAX_CAPTION - 1] + "…"
    meta["items"] = {
        modality: {**part.origin, **{k: v for k, v in (("start", part.start), ("end", part.end)) if v is not None}}
        for modality, part in sample.parts.items()
    }
    return meta
