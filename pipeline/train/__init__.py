"""The stage train: a multimodal classifier from the shards."""

from pipeline.train.training import train as train
