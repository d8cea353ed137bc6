"""Tables that say something of files: one module a kind, listed in `table`; `annotation_table` has their params."""
