"""Ordinary WebDataset tars written by others: index, check and read them."""
