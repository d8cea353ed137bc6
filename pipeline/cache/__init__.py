"""The item cache: what was computed from an item, found again by a hash of all that it was computed from.

`identity` makes these hashes; `rows` says where in a file something stands, `objects` are the files, `find` looks many
hashes up at once, `reader` reads what was found and holds it to its checksums, `prune` keeps the cache small;
`features`, `checks` and `verdicts` are what is kept of an item.

Nothing here may change a byte of an output: an entry is what would be computed, or it is not used.
"""
