"""The stage train: a multimodal classifier from the shards."""
