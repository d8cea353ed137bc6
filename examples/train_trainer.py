"""Train on shards with the Trainer of Hugging Face Transformers, and resume where it was killed.

    torchrun --nproc-per-node 2 examples/train_trainer.py data/5_shards checkpoints

Run it again after killing it anywhere: it goes on after the last checkpoint, with the losses of a run that was not
killed. The loader's state is written last into each checkpoint, so a checkpoint that has one is complete.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from shardwright import Loader, ShardDataset

BATCH_SIZE = 16  # of a process
EPOCHS = 2
STATE = "loader.json"


class SaveLoader(TrainerCallback):
    """Write the loader's state into each checkpoint, after all processes have written what is theirs."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if distributed.is_initialized():
            distributed.barrier()
        if state.is_world_process_zero:
            partial = Path(args.output_dir, f"checkpoint-{state.global_step}", f"{STATE}.partial")
            partial.write_text(json.dumps(self.loader.state_dict()))
            partial.rename(partial.with_suffix(""))


class ShardTrainer(Trainer):
    """A Trainer whose training batches come from a `Loader`, which knows its rank and its position by itself."""

    def __init__(self, loader: Loader, model: nn.Module, args: TrainingArguments) -> None:
        super().__init__(model, args, callbacks=[SaveLoader(loader)])
        self.loader = loader

    def get_train_dataloader(self) -> Loader:
        return self.loader

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        outputs = model(inputs["image"].flatten(1).float() / 255)
        losses = nn.functional.cross_entropy(outputs, inputs["label"], reduction="none")
        return (losses * inputs["valid"]).sum() / inputs["valid"].sum().clamp(min=1)

    def training_step(self, *args: Any) -> torch.Tensor:
        loss = super().training_step(*args)
        mean = float(self.accelerator.gather(loss).mean())
        if self.is_world_process_zero():
            print(f"step {self.state.global_step + 1} of {self.state.max_steps}: loss {mean:.9g}", flush=True)
        return loss


def find_last(folder: Path) -> Path | None:
    """Return the last complete checkpoint, if there is one."""
    complete = [path.parent for path in folder.glob(f"checkpoint-*/{STATE}")]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def load_from_numbered_cpu(storage: torch.UntypedStorage, location: str) -> torch.UntypedStorage | None:
    """Load what is to be placed on `cpu:0`, as the Trainer calls a CPU and `torch.load` does not."""
    return storage if location.startswith("cpu:") else None


torch.serialization.register_package(100, lambda storage: None, load_from_numbered_cpu)


def main(root: str, checkpoints: Path) -> None:
    args = TrainingArguments(
        str(checkpoints),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=1e-3,
        save_steps=3,
        ignore_data_skip=True,  # the loader starts at its position; the Trainer would read and drop what is before it
        seed=0,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )
    data = ShardDataset(root, "train")
    ranks = {"rank": args.process_index, "world_size": args.world_size}
    loader = Loader(data, BATCH_SIZE, shuffle=True, seed=0, **ranks)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.1), nn.Linear(data.fields["image"].nbytes, len(data.classes or ()) or 10))
    last = find_last(checkpoints)
    if last is not None:
        loader.load_state_dict(json.loads(last.joinpath(STATE).read_text()))
    ShardTrainer(loader, model, args).train(resume_from_checkpoint=last and str(last))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
