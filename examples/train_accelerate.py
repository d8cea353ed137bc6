"""Train on shards with Hugging Face Accelerate, and resume where it was killed.

    torchrun --nproc-per-node 2 examples/train_accelerate.py data/5_shards checkpoints

Run it again after killing it anywhere: it goes on after the last checkpoint, with the losses of a run that was not
killed. The loader is registered for checkpointing and not prepared: it knows its rank, and moves its batches itself.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from torch import nn

from shardwright import Loader, ShardDataset

ACCUMULATE = 2  # batches for a step of the optimizer
SAVE_EVERY = 4  # batches, a multiple of those


def main(root: str, checkpoints: Path, epochs: int = 2) -> None:
    accelerator = Accelerator(gradient_accumulation_steps=ACCUMULATE, cpu=not torch.cuda.is_available())
    data = ShardDataset(root, "train")
    loader = Loader(
        data,
        16,
        shuffle=True,
        seed=0,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        device=accelerator.device,
        steps_multiple=ACCUMULATE,  # so that no gradient is left over at the end of an epoch
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(data.fields["image"].nbytes, len(data.classes or ()) or 10))
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=1e-3))
    accelerator.register_for_checkpointing(loader)
    complete = sorted(checkpoints.glob("step-[0-9]*"))
    if complete:
        accelerator.load_state(str(complete[-1]))
    while loader.epoch < epochs:
        for batch in loader:
            with accelerator.accumulate(model):
                outputs = model(batch["image"].flatten(1).float() / 255)
                losses = nn.functional.cross_entropy(outputs, batch["label"], reduction="none")
                loss = (losses * batch["valid"]).sum() / batch["valid"].sum().clamp(min=1)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            mean = float(accelerator.gather(loss.detach()).mean())
            state = loader.state_dict()
            step = state["epoch"] * len(loader) + state["position"]
            accelerator.print(f"step {step} of {epochs * len(loader)}: loss {mean:.9g}", flush=True)
            if step % SAVE_EVERY == 0:
                partial = checkpoints / "partial"
                accelerator.save_state(str(partial))
                accelerator.wait_for_everyone()
                if accelerator.is_main_process:
                    partial.rename(checkpoints / f"step-{step:08}")  # so that what is found at a restart is complete


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    PartialState().destroy_process_group()  # only now: the model must not be the last that holds it
