"""A task: classification in which samples that the model finds easy count little."""

from dataclasses import replace

from torch import Tensor
from torch.nn.functional import log_softmax

from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.labels import LABEL
from pipeline.tasks.task import ForwardPass

FOCUS = 2.0


def compute_focal_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the focal loss of outputs (batch, classes), a scalar (Lin et al., 2017: Focal loss for dense object
    detection); labels are not smoothed."""
    chosen = log_softmax(forward.outputs, 1).gather(1, forward.batch[LABEL][:, None]).squeeze(1)
    losses = -((1 - chosen.exp()) ** FOCUS) * chosen
    return losses.mean() if training else losses.sum()


FOCAL = replace(CLASSIFICATION, compute_loss=compute_focal_loss)
