"""extract: aligned samples to shards of arrays, in parallel, the same bytes on any number of workers.

`step` is the flow; `samples` joins the tables, `plan` deals samples out to shards, `fields` says what a sample holds,
`learn` goes over the training split once where a feature needs it, `shard` makes one shard, `meta` is what stands
beside the arrays, `moments` are means and deviations, `provenance` is where it all came from.
"""

from pipeline.extract.step import extract

__all__ = ["extract"]
