"""Fuse one embedding a modality into one embedding a sample. `table` lists the fusions."""
