"""Start the processes that train together: torchrun starts the stage several times, and all but the first follow it."""

import os
import signal
import sys
from pathlib import Path

from pipeline.config.check_params import check_block, read_params
from pipeline.errors import PipelineError
from pipeline.runtime.run_stage import DVC_VARIABLE
from pipeline.runtime.sandbox.parent_death import end_with_parent
from pipeline.train.params import TrainParams
from pipeline.train.step import follow

LAUNCHER = "torch.distributed.run"
"""The module of torchrun."""


def start_or_follow(module: str) -> None:
    """Return in the process that is the stage: where `train.processes` is 1, or torchrun's first one.

    Else become torchrun, which starts `module` on this machine, or follow the first process and exit.
    """
    try:
        params = check_block(read_params(Path("params.yaml")), "train", TrainParams)
    except PipelineError:
        return  # the stage says it
    if params.processes == 1:
        return
    rank = os.environ.get("RANK")
    if rank is None:
        if os.environ.get(DVC_VARIABLE):
            end_with_parent(signal.SIGTERM)
        os.environ["OMP_NUM_THREADS"] = str(params.threads)
        options = ["--standalone", f"--nproc-per-node={params.processes}"]
        os.execv(sys.executable, [sys.executable, "-m", LAUNCHER, *options, "-m", module])
    end_with_parent(
        signal.SIGTERM
    )  # which is torchrun: processes that outlived it would save over a new start's states
    if rank != "0":
        sys.exit(_follow(params))


def _follow(params: TrainParams) -> int:
    try:
        follow(params, Path("data"))
    except PipelineError:
        return 1  # the stage says it
    except KeyboardInterrupt:
        return 130
    return 0
