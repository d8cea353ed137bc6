"""Check recordings and compute audio features."""
