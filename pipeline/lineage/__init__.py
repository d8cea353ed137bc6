"""Explain results from the tables of all stages: what became of one item (`why`), how two datasets differ (`diff`).

This package reads tables, records and indexes, and imports no stage.
"""
