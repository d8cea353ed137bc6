"""`shardwright diff`: compare two datasets and explain the difference."""
