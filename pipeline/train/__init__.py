"""Train a multimodal model on the shards."""
