"""Parse image formats: size, orientation, completeness, and the file without its metadata."""
