"""Plan a generation: find the target, and the texts that are its floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InputError
from pipeline.modalities.text.token_fields import SPECIAL_WORDS
from pipeline.modalities.text.tokenizer_document import find_unknown
from pipeline.models.inputs import PartInput, has_words, list_tokens, read_token_document
from pipeline.models.text_decoder import DatasetDecoder
from pipeline.tasks.generation.floors import choose_texts, measure_texts
from pipeline.tasks.metrics.texts import check_installed
from pipeline.tasks.options import GenerationOptions
from pipeline.tasks.task import Plan
from shardwright import ShardDataset

TEXT = "text"


@dataclass(frozen=True)
class GenerationPlan(Plan):
    """The plan of a generation.

    The decoder's tokens are those of the dataset, and after them two of its own, `begin` and `end`.

    Attributes:
        target: the part that is generated.
        layers, heads, width: of the decoder.
        smoothing: of the targets in training.
        beam, longest, length_penalty: of the search for a text.
        silent: the tokens of the dataset that stand for no text, such as padding and unknown words; none is generated,
            and none is learned.
        mean_tokens: of a training sample, with the end tokens: what losses are divided by.
        constant: tokens of the training text that is most like the others, without those that are silent.
        class_texts: the same of the training texts of each class; empty without labels.
        classes: the names of the labels; empty without labels.
        texts: that a sample has at most.
    """

    target: PartInput
    layers: int
    heads: int
    width: int
    smoothing: float
    beam: int
    longest: int
    length_penalty: float
    silent: tuple[int, ...]
    mean_tokens: float
    constant: tuple[int, ...]
    class_texts: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    texts: int

    @property
    def begin(self) -> int:
        """The token before each text."""
        return self.target.words

    @property
    def end(self) -> int:
        """The token after each text."""
        return self.target.words + 1

    @property
    def tokens(self) -> int:
        """The number of all tokens."""
        return self.target.words + 2

    @property
    def steps(self) -> int:
        """Tokens of a stored text at most."""
        return self.target.shape[0]


def make_plan(options: GenerationOptions, data: ShardDataset, inputs: "Sequence[PartInput]") -> GenerationPlan:
    """Find the target among the parts, and its floors in the training split.

    Raises:
        InputError: there is no such part, it is no text, no other part is left, its tokens cannot be turned back into
            texts, the training split has none of them, or what scores them is not installed.
    """
    check_installed()
    target = find_target(options, inputs)
    parts = tuple(source.part for source in inputs if source.part != target.part)
    if not parts:
        raise InputError(
            f"train.task generation makes {target.part} from the other parts of a sample, and there is none: add a "
            "part to align.modalities or align.parts, or to train.modalities"
        )
    longest = target.shape[0] if options.longest is None else options.longest
    if longest > target.shape[0]:
        raise InputError(
            f"train.task.longest is {longest}; it must be at most {target.shape[0]}, the tokens of a stored text "
            "(extract.text.length)"
        )
    DatasetDecoder(data.root).load()
    mean_tokens = measure_texts(data, target)
    if mean_tokens == 0:
        raise InputError(f"{data.root}: no sample of the split `train` has the part `{target.part}`: look at align")
    silent = list_silent(read_token_document(data.root, data.manifest) or {"words": []}, target)
    constant, class_texts = choose_texts(data, target, silent)
    return GenerationPlan(
        parts=parts,
        target=target,
        layers=options.layers,
        heads=options.heads,
        width=options.width,
        smoothing=options.label_smoothing,
        beam=options.beam,
        longest=longest,
        length_penalty=options.length_penalty,
        silent=silent,
        mean_tokens=mean_tokens,
        constant=constant,
        class_texts=class_texts,
        classes=tuple(data.classes or ()) if class_texts else (),
        texts=1 if target.count is None else data.fields[target.field].shape[0],
    )


def list_silent(document: Mapping[str, Any], target: PartInput) -> tuple[int, ...]:
    """Return the tokens of a `vocabulary.json` or `tokenizer.json` that stand for no text, sorted."""
    unknown = None if has_words(document) else find_unknown(document)
    named = {number for number, token in enumerate(list_tokens(document)) if token in ("", *SPECIAL_WORDS)}
    return tuple(sorted(named | {*target.marks} | ({unknown} if unknown is not None else set())))


def find_target(options: GenerationOptions, inputs: "Sequence[PartInput]") -> PartInput:
    """Return the part to generate.

    Raises:
        InputError: see `make_plan`.
    """
    texts = {source.part: source for source in inputs if source.modality == TEXT and source.words}
    if not texts:
        raise InputError(
            "train.task is generation, and the model has no text part to generate: add one to align.modalities or "
            "align.parts, and text to train.modalities"
        )
    if options.target is None and len(texts) > 1:
        raise InputError(f"train.task.target is null; it must name one of the text parts {', '.join(texts)}")
    name = next(iter(texts)) if options.target is None else options.target
    if name not in texts:
        raise InputError(f"train.task.target is {name}; it must be a text part: {', '.join(texts)}")
    return texts[name]
