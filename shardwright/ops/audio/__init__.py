"""Decode audio: a span of a recording, at one rate, as samples or features."""
