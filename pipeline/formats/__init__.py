"""File formats, byte by byte: what a header says, and the same file without its metadata. No decoding here."""
