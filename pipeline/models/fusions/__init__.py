"""Fuse one embedding a part into one embedding a sample. `table` lists the fusions."""
