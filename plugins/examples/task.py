"""A task: classification in which samples that the model finds easy count little."""

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import log_softmax

from pipeline.models.batches import Batch
from pipeline.tasks.classification import CLASSIFICATION, LABEL
from pipeline.tasks.task import Loss

FOCUS = 2.0


def compute_focal_loss(outputs: Tensor, batch: Batch, loss: Loss) -> Tensor:
    """Return the focal loss of outputs (batch, classes), a scalar (Lin et al., 2017: Focal loss for dense object
    detection); `loss.smoothing` is not used."""
    chosen = log_softmax(outputs, 1).gather(1, batch[LABEL][:, None]).squeeze(1)
    losses = -((1 - chosen.exp()) ** FOCUS) * chosen
    return losses.mean() if loss.reduction == "mean" else losses.sum()


FOCAL = replace(CLASSIFICATION, compute_loss=compute_focal_loss)
