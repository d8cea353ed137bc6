"""Build the multimodal model (an encoder a modality, a fusion, a head), read its batches, save and load it."""
