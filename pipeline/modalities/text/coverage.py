"""Say how much of the texts the tokens in the shards hold."""

from pipeline.errors import InputError
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.text.params import TextFeatures


def review_coverage(training: TokenTally, total: TokenTally, params: TextFeatures) -> str:
    """Return the shares of unknown tokens and of texts that are cut, over all splits.

    Raises:
        InputError: the vocabulary knows less than `params.min_known` of the tokens of the training split; the message
            names the share and the settings.
    """
    known = training.tokens - training.unknown
    if known < params.min_known * training.tokens:
        raise InputError(_describe_lack(training, params))
    unknown = total.unknown / max(total.tokens, 1)
    return (
        f"text: {unknown:.1%} of {total.tokens:,} tokens unknown; {total.cut:,} of {total.items:,} texts cut at "
        f"extract.text.length {params.length}"
    )


def _describe_lack(training: TokenTally, params: TextFeatures) -> str:
    known = 1 - training.unknown / training.tokens
    found = (
        f"extract.text.min_known is {params.min_known:g}, but the vocabulary knows {known:.1%} of the "
        f"{training.tokens:,} tokens of {training.items:,} texts of the training split"
    )
    if params.frozen is not None:
        return f"{found}: name a vocabulary of such texts in extract.text.frozen, or lower min_known"
    language = f"set extract.text.language to that of the texts (it is {params.language}), "
    return (
        f"{found}: {language if params.tokenizer == 'words' else ''}lower "
        f"extract.text.min_count ({params.min_count}), raise extract.text.vocabulary ({params.vocabulary}), set "
        "extract.text.tokenizer to bpe, which knows any text, or lower min_known"
    )
