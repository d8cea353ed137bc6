"""`shardwright why`: trace one item through all stages."""
