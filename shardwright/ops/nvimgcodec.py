"""Decode JPEG files by nvImageCodec: many at once on a GPU, or by the same calls on the CPU."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import ShardwrightError
from shardwright.ops.crops import Box
from shardwright.ops.explain_missing import explain_missing

if TYPE_CHECKING:
    import torch

INSTALL = "pip install shardwright[nvimgcodec], or with CUDA 12: pip install nvidia-nvimgcodec-cu12[nvjpeg]"
OPTIONS = ":fancy_upsampling=1"
"""Chroma is interpolated, as libjpeg-turbo does by default."""
GROUP_PIXELS = 1 << 26
"""Pixels that are decoded at a time: 200 MB of the device's memory, for each reading thread."""

_decoders = threading.local()


@dataclass(frozen=True)
class Device:
    """Where nvImageCodec decodes.

    Attributes:
        backend: the kind of its decoders that are used.
        find_number: returns its number for the device of this thread; raises `ShardwrightError` where there is none.
        find_stream: returns the CUDA stream of this thread, as a number.
        view: returns the tensor that shares the memory of an image.
    """

    backend: str
    find_number: Callable[[], int]
    find_stream: Callable[[], int]
    view: Callable[[Any], "torch.Tensor"]


def _find_gpu() -> int:
    import torch

    if not torch.cuda.is_available():
        raise ShardwrightError(
            'NvImageCodec(device="cuda") needs a GPU, and PyTorch finds none; leave decoder= out, or use device="cpu"'
        )
    return torch.cuda.current_device()


def _find_cuda_stream() -> int:
    import torch

    return int(torch.cuda.current_stream().cuda_stream)


def _view_on_gpu(image: Any) -> "torch.Tensor":
    import torch.utils.dlpack

    tensor: torch.Tensor = torch.utils.dlpack.from_dlpack(image)
    return tensor


def _view_on_cpu(image: Any) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.asarray(image))


CPU_NUMBER = -99_999
"""NVIMGCODEC_DEVICE_CPU_ONLY of nvImageCodec."""
DEVICES: Mapping[str, Device] = {
    "cuda": Device("HYBRID_CPU_GPU", _find_gpu, _find_cuda_stream, _view_on_gpu),
    "cpu": Device("CPU_ONLY", lambda: CPU_NUMBER, lambda: 0, _view_on_cpu),
}
"""On GPUs nvJPEG decodes, on CPUs libjpeg-turbo. The decoder in hardware that some GPUs have is left out: its pixels
differ, and it gets a share of each batch, so a sample would depend on those beside it."""


@dataclass(frozen=True)
class Part:
    """What is wanted of a JPEG file: the box of the stored image, resized to (height, width)."""

    content: bytes
    height: int
    width: int
    box: Box
    resized: tuple[int, int]


@dataclass(frozen=True)
class NvImageCodec:
    """Decode the JPEG files of a batch together, crop and resize them, by nvImageCodec and PyTorch on one device.

    What the decoder cannot read, such as CMYK, and files of other formats are decoded as without it. Files are decoded
    whole, never at a fraction. The pixels differ by a few levels from those of libjpeg-turbo, so the declared operation
    has another hash. nvJPEG does not say of a damaged file that it is: it is delivered without a warning.

    Args:
        device: "cuda", the GPU of the loader, in its threads; or "cpu", the library's own decoder for machines without
            a GPU, which is no faster than without this.

    Raises:
        ValueError: the device is another one.
    """

    device: Literal["cuda", "cpu"] = "cuda"

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ValueError(f"device is {self.device!r}; it must be one of {', '.join(map(repr, DEVICES))}")

    def decode_parts(self, parts: Sequence[Part], antialias: bool) -> Iterator[NDArray[np.uint8] | None]:
        """Yield the pixels of each part, uint8 (*resized, 3), RGB, as stored; None where it cannot decode the file.

        Raises:
            ModuleNotFoundError: nvImageCodec or PyTorch is not installed.
            ShardwrightError: there is no GPU, or nvImageCodec cannot decode JPEG files on it.
        """
        for group in cut_groups(parts):
            yield from _decode_group(self.device, group, antialias)


def cut_groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield the parts in order, as many at a time as `GROUP_PIXELS` allows, at least one."""
    group: list[Part] = []
    pixels = 0
    for part in parts:
        pixels += part.height * part.width
        if group and pixels > GROUP_PIXELS:
            yield group
            group, pixels = [], part.height * part.width
        group.append(part)
    if group:
        yield group


def _decode_group(device: str, group: Sequence[Part], antialias: bool) -> Iterator[NDArray[np.uint8] | None]:
    import torch

    images = [_resize(image, part, antialias) for image, part in zip(_decode(device, group), group, strict=True)]
    values = [image.reshape(-1) for image in images if image is not None]
    together = torch.cat(values).cpu().numpy() if values else np.empty(0, np.uint8)  # one copy from the device
    start = 0
    for image in images:
        if image is None:
            yield None
            continue
        end = start + image.numel()
        yield together[start:end].reshape(image.shape)
        start = end


def _decode(device: str, group: Sequence[Part]) -> "list[torch.Tensor | None]":
    """Return the whole images on the device, uint8 (height, width, 3); None for those that were not decoded."""
    with explain_missing("JPEG files are decoded", INSTALL):
        from nvidia import nvimgcodec
    opened = [_open_stream(nvimgcodec, part.content) for part in group]
    streams = [stream for stream in opened if stream is not None]
    decoded = iter(_open_decoder(device)(streams) if streams else [])
    images = [None if stream is None else next(decoded) for stream in opened]
    return [
        None if image is None or tuple(image.shape) != (part.height, part.width, 3) else DEVICES[device].view(image)
        for image, part in zip(images, group, strict=True)
    ]


def _open_stream(nvimgcodec: Any, content: bytes) -> Any:
    try:
        stream = nvimgcodec.CodeStream(content)
    except RuntimeError:  # its parser does not read the header
        return None
    return stream if stream.num_channels in (1, 3) else None


def _resize(image: "torch.Tensor | None", part: Part, antialias: bool) -> "torch.Tensor | None":
    """Return a part of an image on its device, as `shardwright.ops.resize.resize` computes it, in float32."""
    if image is None:
        return None
    import torch
    from torch.nn.functional import interpolate

    top, left, height, width = part.box
    pixels = image[top : top + height, left : left + width]
    if part.resized == (height, width):
        return pixels
    planes = pixels.permute(2, 0, 1)[None].float()
    resized = interpolate(planes, part.resized, mode="bilinear", antialias=antialias)
    return resized[0].permute(1, 2, 0).round_().clamp_(0, 255).to(torch.uint8)


def _open_decoder(device: str) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what decodes streams; one is kept for each thread and device, since its calls are not to overlap."""
    kept: dict[int, Callable[[Sequence[Any]], list[Any]]] = vars(_decoders).setdefault("kept", {})
    number = DEVICES[device].find_number()
    if number not in kept:
        kept[number] = _make_decoder(DEVICES[device], number)
    return kept[number]


def _make_decoder(device: Device, number: int) -> Callable[[Sequence[Any]], list[Any]]:
    from nvidia import nvimgcodec

    from shardwright.format.jpeg import encode_jpeg

    decoder = nvimgcodec.Decoder(
        device_id=number,
        max_num_cpu_threads=1,  # the loader's threads are enough, and decode side by side
        backends=[nvimgcodec.Backend(getattr(nvimgcodec, device.backend))],
        options=OPTIONS,
    )
    params = nvimgcodec.DecodeParams(apply_exif_orientation=False, sample_format=nvimgcodec.SampleFormat.I_RGB)

    def decode(streams: Sequence[Any]) -> list[Any]:
        images: list[Any] = decoder.decode(list(streams), params=params, cuda_stream=device.find_stream())
        return images

    trial = encode_jpeg(np.zeros((16, 16, 3), np.uint8), 90)
    if decode([nvimgcodec.CodeStream(trial)])[0] is None:
        raise ShardwrightError(f"nvImageCodec decodes no JPEG files here, as without nvJPEG: {INSTALL}")
    return decode
