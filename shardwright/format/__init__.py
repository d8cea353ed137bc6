"""The shard format: write, index, describe and verify shards."""
