"""Cache what was computed from an item under a hash of everything that it was computed from.

`cache_key` computes these hashes, from `module_sources` and `library_versions`. `object_store` holds the files,
`pack_index` lists the entries of one, `lookup` finds many keys at once, `entry_reader` reads entries and verifies their
checksums, `growing_pack` writes them while a task runs, `compute_chunk` computes missing ones, `published_tar` keeps
what a stage published, `evict` keeps the cache small. What an entry holds, `rejections` and the stages say:
`pipeline.clean.check_entry`, `pipeline.extract.feature_entry`.

Nothing here may change a byte of an output: an entry is what would be computed, or it is not used.
"""
