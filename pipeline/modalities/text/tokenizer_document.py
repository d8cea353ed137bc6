"""Read a `tokenizer.json` of the package `tokenizers` as the JSON that it is, without that package."""

from collections.abc import Mapping
from typing import Any


def number_tokens(document: Mapping[str, Any]) -> dict[str, int]:
    """Return the id of each token that the tokenizer's model knows."""
    vocabulary = document["model"]["vocab"]
    if isinstance(vocabulary, Mapping):
        return dict(vocabulary)
    return {token: number for number, (token, _) in enumerate(vocabulary)}  # of Unigram: tokens with their scores


def list_tokens(document: Mapping[str, Any]) -> list[str]:
    """Return the tokens by id; "" for an id that the tokenizer leaves out."""
    by_id = {number: token for token, number in number_tokens(document).items()}
    by_id |= {token["id"]: token["content"] for token in document.get("added_tokens") or []}
    return [by_id.get(number, "") for number in range(max(by_id) + 1)]


def find_unknown(document: Mapping[str, Any]) -> int | None:
    """Return the id of the token for what the tokenizer does not know; None where it knows any text."""
    model = document["model"]
    if model.get("unk_id") is not None:  # of Unigram
        return int(model["unk_id"])
    return number_tokens(document).get(model.get("unk_token") or "")


def list_marks(document: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ids of the tokens that are no text, such as those of start and end, sorted."""
    return tuple(sorted(token["id"] for token in document.get("added_tokens") or [] if token.get("special")))
