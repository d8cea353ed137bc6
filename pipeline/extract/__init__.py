"""extract: aligned samples to shards of arrays, in parallel, the same bytes on any number of workers.

`step` is the flow. `corpus` is the plan: `samples` joins the tables, `fields` says what a sample holds, `plan` deals
samples out to shards, `wanted` says which features they need. `making` carries it out: `compute` fills the item cache,
`learn` goes over the training split where a feature needs it, `shard` makes one shard of features that `read` finds,
`keep` knows the shards that the cache has. `meta` is what stands beside the arrays, `moments` are means and deviations,
`provenance` is where it all came from, `dataset` the manifest.
"""
