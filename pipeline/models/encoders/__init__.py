"""Encoders: one module a modality, listed in `table`."""
