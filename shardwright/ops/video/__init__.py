"""Decode video: some frames of a span, upright and in RGB."""
