"""align: what belongs together becomes a sample with a key, a label and a split."""
