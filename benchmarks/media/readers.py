"""Which readers are measured with which medium, and the form in which each wants the files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.media import (
    by_bare_processes,
    by_dali,
    by_datasets,
    by_lhotse,
    by_litdata,
    by_mosaicml,
    by_shardwright,
    by_spdl,
    by_webdataset,
)
from benchmarks.media.reading import Epoch, Reading

FORMS: Mapping[str, Callable[[Reading, Path], None]] = {
    "shards": by_shardwright.write,
    "litdata": by_litdata.write,
    "mds": by_mosaicml.write,
    "shar": by_lhotse.write,
}
"""What writes a form out of the tars."""


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        module: what it needs; a reader whose module cannot be imported is left out, with the reason.
        package: the name of it in the registry, for the page.
        open: see `Epoch`.
        form: of the files; "tars", or one of `FORMS`.
        environment: variables that its process needs; it may write files into a folder for them.
    """

    module: str
    package: str
    open: Callable[[Reading], Epoch]
    form: str = "tars"
    environment: Callable[[Path], Mapping[str, str]] = lambda folder: {}


OURS: Mapping[str, Mapping[str, Any]] = {"2 threads": {"threads": 2}, "2 processes": {"processes": 2}}


def list_ours(name: str) -> dict[str, Reader]:
    """This project by threads and by processes."""
    return {
        f"{name}, {label}": Reader("shardwright", "shardwright", partial(by_shardwright.open_tars, **options))
        for label, options in OURS.items()
    }


def list_carriers(function: str | None, label: str) -> dict[str, Reader]:
    """The readers that hand over the bytes of files, with one function."""
    return {
        f"webdataset, {label}": Reader(
            "webdataset", "webdataset", partial(by_webdataset.open_webdataset, function=function)
        ),
        f"MosaicML Streaming, {label}": Reader(
            "streaming", "mosaicml-streaming", partial(by_mosaicml.open_mosaicml, function=function), "mds"
        ),
        f"LitData, {label}": Reader(
            "litdata", "litdata", partial(by_litdata.open_litdata, function=function), "litdata"
        ),
        f"HF datasets, {label}": Reader("datasets", "datasets", partial(by_datasets.open_datasets, function=function)),
    }


def list_spdl(function: str | None, label: str) -> dict[str, Reader]:
    """SPDL with a function of others."""
    return {f"SPDL, {label}": Reader("spdl.pipeline", "spdl", partial(by_spdl.open_spdl, function=function))}


def list_native(medium: str) -> dict[str, Reader]:
    """SPDL with its own decoders, and DALI where it has some."""
    native = partial(by_spdl.open_spdl, native=True)
    spdl = {"SPDL, its own decoder": Reader("spdl.io", "spdl-io", native, environment=by_spdl.link_ffmpeg)}
    dali = {"DALI on the CPU": Reader("nvidia.dali", "nvidia-dali-cuda130", by_dali.open_dali)}
    return spdl | (dali if medium in by_dali.GRAPHS else {})


def list_images(medium: str) -> dict[str, Reader]:
    """What decodes images with Pillow or OpenCV."""
    pillow, opencv = f"{medium}, Pillow", f"{medium}, OpenCV"
    webdataset = partial(by_webdataset.open_webdataset, function=opencv)
    return {
        **list_carriers(pillow, "Pillow"),
        "webdataset, OpenCV": Reader("webdataset", "webdataset", webdataset),
        **list_spdl(opencv, "OpenCV"),
        **list_native(medium),
        "two bare OpenCV processes": Reader(
            "cv2", "opencv-python-headless", partial(by_bare_processes.open_processes, function=opencv)
        ),
    }


READERS: Mapping[str, Mapping[str, Reader]] = {
    "images": {
        **list_ours("ops.Image"),
        "OpenCV in with_transform, 2 threads": Reader(
            "shardwright",
            "shardwright",
            partial(by_shardwright.open_function, function="images, OpenCV", threads=2),
        ),
        **list_images("images"),
    },
    "stored": {
        "own shards, store: jpeg, 2 threads": Reader(
            "shardwright", "shardwright", partial(by_shardwright.open_shards, threads=2), "shards"
        ),
        **list_ours("ops.Image"),
        **list_images("stored"),
    },
    "audio": {
        **list_ours("ops.Audio"),
        "Lhotse, on the fly": Reader("lhotse", "lhotse", by_lhotse.open_lhotse, "shar"),
        "webdataset, librosa, whole files": Reader(
            "webdataset", "webdataset", partial(by_webdataset.open_webdataset, function="audio, librosa, whole files")
        ),
        **list_carriers("audio, librosa, the part alone", "librosa, the part alone"),
        **list_native("audio"),
    },
    "video": {
        **list_ours("ops.Frames"),
        **list_carriers("video, decord", "decord"),
        "webdataset, PyAV, whole files": Reader(
            "webdataset", "webdataset", partial(by_webdataset.open_webdataset, function="video, PyAV, whole files")
        ),
        **list_native("video"),
    },
    "text": {
        **list_ours("ops.Tokens"),
        "ops.Tokens in packed rows of 2,048, 2 threads": Reader(
            "shardwright", "shardwright", partial(by_shardwright.open_packed, row=2048, threads=2)
        ),
        **list_carriers(None, "tokenizers"),
        **list_spdl(None, "tokenizers"),
    },
}
"""By medium and by what the page calls it; the first of each medium is what the others are compared with."""
