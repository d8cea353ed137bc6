"""Datasets: random access to samples, views, mixes and caches."""
