"""align: what belongs together becomes a sample with a key, a label and a split."""

from pipeline.align.step import align

__all__ = ["align"]
