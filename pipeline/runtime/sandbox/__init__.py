"""Runs a task in a process that may die, hang or grow, and finds out which of its items was at fault.

`items` is what a step sees of it: how a task says what it is made of, and at which of its items it is. `cell` is one
process with its watch, `host` starts them (by way of `forker`, which is also what runs inside them), `triage` takes a
task through the deaths of its cells. Nothing here knows Dask.
"""
