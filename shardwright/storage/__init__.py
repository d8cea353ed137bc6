"""Byte sources: maps, reads and windows over shard files."""
