"""Generate `dvc.yaml` and `schemas/` from the code."""
