"""What training says about itself: a row an epoch."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

HISTORY_NAME = "history.tsv"


@dataclass(frozen=True)
class Epoch:
    """A row of `history.tsv`. What there was no validation sample for is None, and empty in the file.

    Attributes:
        epoch: counted from 1.
        train_loss: mean cross-entropy over the training samples, as augmented and with smoothed labels.
        val_loss: mean cross-entropy over the validation samples as they are.
        val_accuracy: share of the validation samples told right.
        val_macro_f1: mean F1 over the classes among the validation samples.
        learning_rate: of the epoch's last step.
    """

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    val_macro_f1: float | None
    learning_rate: float

    def beats(self, other: "Epoch | None") -> bool:
        """Whether this is a better one: a higher macro F1, or the same at a lower loss. Without scores, the later."""
        if other is None or self.val_macro_f1 is None or other.val_macro_f1 is None:
            return True
        return (self.val_macro_f1, -(self.val_loss or 0)) > (other.val_macro_f1, -(other.val_loss or 0))


def write_history(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write a header and a row an epoch, tab-separated, six digits a number."""
    lines = ["\t".join(column.name for column in fields(Epoch))]
    lines += ["\t".join("" if value is None else f"{value:.6g}" for value in astuple(epoch)) for epoch in epochs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
