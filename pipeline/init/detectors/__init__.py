"""Layouts of data that are known: one module for each kind of evidence, listed in `table`."""
