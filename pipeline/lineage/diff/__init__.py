"""Compare two datasets and explain the differences: the command `shardwright diff`."""
