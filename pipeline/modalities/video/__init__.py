"""Check videos and turn them into frames and audio features."""
