"""Compute the key of a training's saved states: the hash of all that decides the bits of its weights."""

from typing import TYPE_CHECKING, Any

from pipeline.config.plugins import find_module, find_plugins
from pipeline.incremental.library_versions import describe_environment
from pipeline.incremental.module_sources import find_source_files, hash_source
from pipeline.models.encoders.table import ENCODERS
from pipeline.train.initial_encoders import hash_initial_weights
from pipeline.train.params import TrainParams
from shardwright.format.canonical_json import hash_canonical

if TYPE_CHECKING:
    import torch

STAGE = "stages.train"


def list_hashed_files(params: TrainParams) -> list[str]:
    """Return the project's files whose source is in the key: all that the stage may run, and the plugins in use."""
    return sorted({path for module in _list_modules(params) for path in find_source_files(module)})


def compute_key(params: TrainParams, dataset: str, device: "torch.device") -> str:
    """Return the key, 64 hex digits, of training with `params` on the dataset of this hash.

    The number of threads is one of the params. The block `run` is not in it: it changes no bit.
    """
    modules = _list_modules(params)
    return hash_canonical(
        {
            "params": params.model_dump(mode="json"),
            "dataset": dataset,
            "initial_weights": hash_initial_weights(params, ENCODERS),
            "source": {module: hash_source(module) for module in modules},
            "environment": describe_environment(modules),
            "device": describe_device(device),
        }
    )


def describe_device(device: "torch.device") -> dict[str, Any]:
    """Return what PyTorch computes on, and with: other instructions or another chip sum in another order."""
    import torch

    described: dict[str, Any] = {
        "type": device.type,
        "torch": torch.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }
    if device.type == "cuda":
        described |= {"name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return described


def _list_modules(params: TrainParams) -> list[str]:
    plugins = find_plugins(params.model_dump(mode="json"))
    return [STAGE, *sorted(set(map(find_module, plugins)))]
