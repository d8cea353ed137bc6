"""Check images and turn them into arrays."""
