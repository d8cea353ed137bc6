"""Make a folder as Hugging Face's libraries write it."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.support.factory_shards import WORDS
from tests.support.model_inputs import SMALL


def write_tokenizer(folder: Path, words: Sequence[str]) -> None:
    """Write `tokenizer.json` with an id a word."""
    model = {"type": "WordLevel", "unk_token": "?", "vocab": {word: number for number, word in enumerate(words)}}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model, "added_tokens": []}))


def make_network(folder: Path) -> Path:
    """Write a random BERT of 2 layers and width 16, with a head that the encoder has not, and return the folder."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(**SMALL["transformers"]["config"])).save_pretrained(folder)
    write_tokenizer(folder, WORDS)
    return folder
