"""clean: items that decode, without metadata and personal data, and with their duplicates marked."""
