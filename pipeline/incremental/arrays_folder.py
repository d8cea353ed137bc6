"""Name the environment variable by which processes find the folder of `pipeline.incremental.kept_arrays`."""

VARIABLE = "SHARDWRIGHT_ARRAYS"
"""Set while a stage runs, to a folder under `run.cache`. Where it is not, nothing is kept."""
