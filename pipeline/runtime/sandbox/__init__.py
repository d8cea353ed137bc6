"""Run a task in a process that may die, hang or outgrow its memory, and find out which of its items is to blame.

`heartbeat` is what a step uses: how a task lists its items and reports the one it is at. `worker` is one process and
its watch, `worker_pool` starts them (through `fork_server`; `child_main` is the program inside), `find_bad_items` runs
a task to its end through the deaths of its processes. Nothing here knows Dask.
"""
