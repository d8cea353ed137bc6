"""Define what a model learns: loss, size of the head, metrics and report of each task. `table` lists the tasks."""
