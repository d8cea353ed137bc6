"""The stage evaluate: how good the model is, with which modalities, and where it errs."""
