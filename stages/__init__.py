"""Entry points that DVC runs, one a stage."""
