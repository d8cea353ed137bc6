"""What the stages `list` and `ingest` share of their inputs: their params, and how a file is read in one state."""
