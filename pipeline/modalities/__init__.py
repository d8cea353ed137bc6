"""Check items of each modality and turn them into arrays: one folder a modality."""
