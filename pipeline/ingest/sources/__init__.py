"""Sources of files: one module a source, listed in `table`; `source` has their contract."""
