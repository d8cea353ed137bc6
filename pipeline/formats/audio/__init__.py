"""Parse audio formats: rate, length, completeness, and the file without its metadata."""
