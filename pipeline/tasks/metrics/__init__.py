"""Compute scores from exact counts. `table` lists the metrics."""
