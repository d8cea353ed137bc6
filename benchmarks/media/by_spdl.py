"""SPDL: threads that run a function, in the order of the shards; its own decoders are those of FFmpeg."""

import importlib.util
import io
import os
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.media.by_hand import FRAMES, RATE, SPAN, Work, choose_box, choose_start, compute_mel, plan_work, stack
from benchmarks.media.reading import WORKERS, Epoch, Reading, read_members
from benchmarks.media.sets import SIDE, VIDEO_SECONDS, list_tars


def open_spdl(reading: Reading, function: str | None = None, native: bool = False) -> Epoch:
    import spdl.pipeline

    paths, files, rng = list_tars(reading.folder), reading.files, random.Random(0)
    work = Work(NATIVE[reading.medium], stack) if native else plan_work(reading, function)

    def read() -> Iterator[int]:
        rng.shuffle(paths)
        builder = spdl.pipeline.PipelineBuilder().add_source(read_members(paths, files.suffix))
        piped = builder.pipe(work.decode, concurrency=WORKERS).aggregate(files.batch).pipe(work.collate).add_sink(3)
        pipeline = piped.build(num_threads=WORKERS + 1, max_failures=0)
        with pipeline.auto_stop():
            yield from map(len, pipeline.get_iterator(timeout=60))

    return read


def crop_image(content: bytes) -> NDArray[np.uint8]:
    """Decode, crop and resize in FFmpeg's filters."""
    import spdl.io

    packets = spdl.io.demux_image(content)
    top, left, height, width = choose_box(*read_size(content), np.random.default_rng())
    crop = f"crop={width}:{height}:{left}:{top}:exact=1,scale={SIDE}:{SIDE}:flags=bilinear,format=rgb24"
    return np.asarray(spdl.io.to_numpy(spdl.io.convert_frames(spdl.io.decode_packets(packets, filter_desc=crop))))


def read_size(content: bytes) -> tuple[int, int]:
    """Height and width by the header: SPDL's packets do not have them."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        return image.height, image.width


def decode_image(content: bytes) -> NDArray[np.uint8]:
    """The whole image."""
    import spdl.io

    return np.asarray(spdl.io.to_numpy(spdl.io.load_image(content)))


def hear(content: bytes) -> NDArray[np.float32]:
    """A part, decoded and resampled; the features are librosa's."""
    import spdl.io

    start = choose_start(content)
    span = (start, start + SPAN)
    filters = spdl.io.get_audio_filter_desc(
        sample_rate=RATE, num_channels=1, timestamp=span, num_frames=int(SPAN * RATE)
    )
    samples = spdl.io.to_numpy(spdl.io.load_audio(content, timestamp=span, filter_desc=filters))
    return compute_mel(samples[0])


def watch(content: bytes) -> NDArray[np.uint8]:
    """Frames at an even rate from a part, resized in FFmpeg's filters."""
    import spdl.io

    start = float(np.random.default_rng().uniform(0, VIDEO_SECONDS - SPAN))
    span = (start, start + SPAN)
    filters = spdl.io.get_video_filter_desc(
        frame_rate=(int(FRAMES / SPAN), 1),
        timestamp=span,
        scale_width=SIDE,
        scale_height=SIDE,
        scale_mode=None,
        scale_algo="bilinear",
        num_frames=FRAMES + 1,  # one less comes out where the part begins between two frames
    )
    return np.asarray(spdl.io.to_numpy(spdl.io.load_video(content, timestamp=span, filter_desc=filters)))[:FRAMES]


NATIVE: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    "images": crop_image,
    "stored": decode_image,
    "audio": hear,
    "video": watch,
}
"""By medium, what SPDL's own decoders do."""


def link_ffmpeg(folder: Path) -> dict[str, str]:
    """Return the environment in which SPDL finds FFmpeg's libraries: those in the wheel of PyAV, under their own names.

    SPDL's wheel has none, and takes what the loader of the system finds. Where there is no PyAV nothing is set.
    """
    found = importlib.util.find_spec("av")
    libraries = Path(found.origin).parents[1] / "av.libs" if found and found.origin else folder / "none"
    if not libraries.is_dir():
        return {}
    links = folder / "ffmpeg"
    links.mkdir(exist_ok=True)
    for library in libraries.iterdir():
        if named := re.fullmatch(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]+\.so\.(\d+)[.\d]*", library.name):
            link = links / f"{named[1]}.so.{named[2]}"
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    paths = [str(links), str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    return {"LD_LIBRARY_PATH": ":".join(paths)}
