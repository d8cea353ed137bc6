"""Run a stage and its tasks: locks, progress, executors, isolation."""
