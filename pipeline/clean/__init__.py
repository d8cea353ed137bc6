"""Clean items: drop what cannot be decoded, remove metadata and personal data, mark duplicates: the stage `clean`."""
