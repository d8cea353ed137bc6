"""Show what a stage would drop, and write nothing."""
