"""Parse video containers: size, frames, completeness, and the file without its metadata."""
