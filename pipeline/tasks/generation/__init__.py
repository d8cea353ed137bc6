"""Generate a text part of a sample from its others."""
