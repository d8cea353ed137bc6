"""List all files that come in, with their hashes: the stage `list`, which always runs.

`walk_folder` finds them, `hash_files` reads those that are new or changed, `known_hashes` has the hashes of the others.
"""
