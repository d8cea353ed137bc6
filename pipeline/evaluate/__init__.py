"""Measure a model on a split, with each subset of the modalities, and write a report."""
