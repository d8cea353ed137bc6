"""What is known about each kind of media: one file a modality."""
