"""Compare two reports on the same samples."""
