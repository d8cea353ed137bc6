"""Explain what became of a file, URL, item or sample: the command `shardwright why`."""
