"""Asks the ledgers of all stages: what became of one thing (`why`), and how two datasets differ (`diff`).

It reads tables, records and indexes, and knows no stage.
"""
