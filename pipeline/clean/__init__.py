"""clean: items that decode, without metadata and personal data, and with their duplicates marked."""

from pipeline.clean.step import clean

__all__ = ["clean"]
