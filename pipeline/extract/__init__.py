"""The stage extract: turn aligned samples into shards of arrays, with the same bytes on any number of workers.

`step` is the flow. `plan_corpus` joins the tables and lists the features that the samples need, by the keys of
`item_keys`, `plan_fields` lists the fields of a sample, `plan_shards` cuts the samples into shards. `build_dataset`
runs the plan: `compute_features` fills the item cache, `learn_vocabulary` counts over the training split where a
feature needs it, `make_shard` builds one shard: whole from the cache, or by `assemble_shard` from the samples that
`cached_shards` finds and the features that `feature_reader` reads.
"""
