"""Encode each modality into an embedding. `table` lists the encoders."""
