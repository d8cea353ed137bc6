"""DALI on the CPU: a graph of its own operators, which decodes only what it crops of an image.

Its defaults do not interpolate the colours of JPEG files, as all others here do.
"""

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.media.by_hand import RATE, SCALE, SPAN
from benchmarks.media.reading import BUFFERED, WORKERS, Epoch, Reading
from benchmarks.media.sets import SIDE, list_tars


def open_dali(reading: Reading) -> Epoch:
    from nvidia.dali import fn, pipeline_def

    paths, files = list_tars(reading.folder), reading.files
    indexes = [write_index(path) for path in paths]

    @pipeline_def(batch_size=files.batch, num_threads=WORKERS, device_id=None, seed=1)  # type: ignore[untyped-decorator]
    def define() -> Any:
        contents = fn.readers.webdataset(
            paths=paths, index_paths=indexes, ext=[files.suffix], random_shuffle=True, initial_fill=BUFFERED, name="in"
        )
        return GRAPHS[reading.medium](contents)

    pipeline = define()
    pipeline.build()
    batches = pipeline.epoch_size("in") // files.batch
    return lambda: (len(pipeline.run()[0].as_array()) for _ in range(batches))


def crop_images(contents: Any) -> Any:
    from nvidia.dali import fn, types

    images = fn.decoders.image_random_crop(contents, device="cpu", output_type=types.RGB, random_area=[*SCALE])
    return fn.resize(images, size=(SIDE, SIDE))


def decode_images(contents: Any) -> Any:
    from nvidia.dali import fn, types

    return fn.decoders.image(contents, device="cpu", output_type=types.RGB)


def hear(contents: Any) -> Any:
    """Whole recordings are decoded and resampled: the operator has no part."""
    from nvidia.dali import fn, types

    samples, _ = fn.decoders.audio(contents, sample_rate=float(RATE), downmix=True, dtype=types.FLOAT)
    surplus = fn.reinterpret(samples.shape(), dtype=types.INT64)[0] - int(SPAN * RATE)
    start = fn.cast(fn.random.uniform(range=(0.0, 1.0)) * fn.cast(surplus, dtype=types.FLOAT), dtype=types.INT32)
    part = fn.slice(samples, start=start, shape=[int(SPAN * RATE)], axes=[0])
    spectra = fn.spectrogram(part, nfft=400, window_length=400, window_step=160)
    return fn.to_decibels(fn.mel_filter_bank(spectra, sample_rate=float(RATE), nfilter=80), multiplier=10.0)


GRAPHS: Mapping[str, Callable[[Any], Any]] = {"images": crop_images, "stored": decode_images, "audio": hear}
"""By medium; of videos DALI decodes no H.264 on the CPU."""


def write_index(path: str) -> str:
    """Write where the files of a tar are, as DALI's `wds2idx` does."""
    rows: list[tuple[str, list[str]]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, suffix = member.name.partition(".")
            if not rows or rows[-1][0] != key:
                rows.append((key, []))
            rows[-1][1].append(f"{suffix} {member.offset_data} {member.size} {member.name}")
    index = Path(path).with_suffix(".idx")
    index.write_text(f"v1.2 {len(rows)}\n" + "".join(" ".join(row) + "\n" for _, row in rows))
    return str(index)
