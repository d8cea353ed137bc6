"""The stage extract: turn aligned samples into shards of arrays, with the same bytes on any number of workers.

`step` is the flow. `plan_corpus` plans: `aligned_samples` joins the tables, `plan_fields` lists the fields of a sample,
`plan_shards` assigns samples to shards, `needed_features` lists the features they need. `build_dataset` runs the plan:
`compute_features` fills the item cache, `learn_vocabulary` counts over the training split where a feature needs it,
`make_shard` builds one shard from the features that `read_features` finds, `reuse_shards` and `reuse_samples` copy what
the cache already has.
"""
