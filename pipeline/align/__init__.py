"""Align items into samples with a key, a label and a split: the stage `align`."""
