"""The multimodal model: an encoder a modality, a fusion, a head; its checkpoint, and the batches that it takes."""
