"""Measure a model on a split, with each subset of the parts, and write a report."""
