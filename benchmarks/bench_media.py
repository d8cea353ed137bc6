"""Spans of audio and video files, decoded by declared operations, beside decoding whole files.

    python -m benchmarks.bench_media audio [--files 48] [--rounds 5]
    python -m benchmarks.bench_media video [--files 4] [--rounds 5]

Audio: 2 s of FLAC files of 44.1 kHz to 80 mel bands at 16 kHz, from WebDataset tars, beside webdataset with
`librosa.load` and `melspectrogram` of whole files. Video: 8 frames of 2 s of MP4 files of a minute, beside PyAV
decoding whole files and converting these 8. CPU seconds of the process, on one thread, both in turn; the median round
counts. Rewrites its part of `benchmarks/results/media.md`; a minute or two each.
"""

import argparse
import io
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.support.copies import CHECKOUT
from shardwright import Loader, ShardDataset, ops

RESULT = CHECKOUT / "benchmarks/results/media.md"
RATE, MELS, SPAN = 44_100, 80, 2.0
SIDE, FPS, FRAMES, VIDEO_SECONDS = (360, 640), 30, 8, 60


def make_flac(number: int, seconds: int) -> bytes:
    """Gliding tones with noise 30 dB below, mono: a FLAC file of half of the bytes of its samples."""
    import soundfile

    rng = np.random.default_rng(number)
    at = np.arange(RATE * seconds) / RATE
    tones = sum(np.sin(2 * np.pi * (pitch * at + 20 * np.sin(at))) for pitch in rng.uniform(100, 2000, 5)) / 10
    file = io.BytesIO()
    soundfile.write(file, tones + rng.normal(0, 0.01, len(at)), RATE, format="FLAC")
    return file.getvalue()


def make_mp4(number: int, interval: int) -> bytes:
    """A scene that moves, with a key frame at most every `interval` frames: H.264, 640 × 360, a minute."""
    import av
    import cv2

    rng = np.random.default_rng(number)
    scene = cv2.resize(rng.integers(0, 256, (40, 80, 3), np.uint8), (1280, 640))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=FPS, options={"g": str(interval), "preset": "veryfast"})
        (stream.height, stream.width), stream.pix_fmt = SIDE, "yuv420p"
        for shown in range(FPS * VIDEO_SECONDS):
            top, left = (round(140 * (1 + np.sin(shown / period))) for period in (41, 67))
            frame = av.VideoFrame.from_ndarray(scene[top : top + SIDE[0], left : left + SIDE[1]].copy(), "rgb24")
            frame.pts, frame.time_base = shown, Fraction(1, FPS)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def write_tar(folder: Path, suffix: str, files: Iterable[bytes]) -> Path:
    import webdataset

    path = folder / "shard-000000.tar"
    with webdataset.TarWriter(str(path)) as writer:
        for number, content in enumerate(files):
            writer.write({"__key__": f"{number:05d}", suffix: content})
    return path


def read_spans(data: Any) -> Callable[[], int]:
    def read() -> int:
        return sum(int(batch["valid"].sum()) for batch in Loader(data, 16, shuffle=True, threads=0))

    return read


def read_whole_audio(path: Path) -> int:
    import librosa
    import webdataset

    count = 0
    for sample in webdataset.WebDataset(str(path), shardshuffle=False):
        samples, _ = librosa.load(io.BytesIO(sample["flac"]), sr=16_000)
        energies = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=MELS)
        librosa.power_to_db(energies)
        count += 1
    return count


def read_whole_videos(path: Path) -> int:
    import av
    import webdataset

    crop, rng, count = ops.Resize(224), np.random.default_rng(0), 0
    for sample in webdataset.WebDataset(str(path), shardshuffle=False):
        start = rng.uniform(0, VIDEO_SECONDS - SPAN)
        chosen = {int((start + (part + 0.5) * SPAN / FRAMES) * FPS) for part in range(FRAMES)}
        with av.open(io.BytesIO(sample["mp4"]), "r") as file:
            file.streams.video[0].codec_context.thread_count = 1
            for number, frame in enumerate(file.decode(video=0)):
                if number in chosen:
                    frame.to_ndarray(format="rgb24", height=crop.shape[0], width=crop.shape[1])
        count += 1
    return count


def measure_in_turn(ours: Callable[[], int], theirs: Callable[[], int], rounds: int) -> tuple[float, float]:
    """Return the CPU seconds a sample of each, the median of the rounds; the first of each is left out."""
    seconds: dict[int, list[float]] = {0: [], 1: []}
    with threadpool_limits(1):
        for _ in range(rounds + 1):
            for which, read in enumerate((ours, theirs)):
                start = time.process_time()
                count = read()
                seconds[which].append((time.process_time() - start) / count)
    found, reference = (statistics.median(values[1:]) for values in seconds.values())
    return found, reference


def run_audio(files: int, rounds: int) -> list[tuple[str, float, float]]:
    operation = ops.Audio(ops.RandomSpan(SPAN), rate=16_000, features=ops.LogMel(MELS))
    rows = []
    for seconds in (5, 10, 30):
        with tempfile.TemporaryDirectory() as scratch:
            path = write_tar(Path(scratch), "flac", (make_flac(number, seconds) for number in range(files)))
            data = ShardDataset.from_webdataset(path).decode(flac=operation)
            rows.append(
                (f"clips of {seconds} s", *measure_in_turn(read_spans(data), partial(read_whole_audio, path), rounds))
            )
    return rows


def run_video(files: int, rounds: int) -> list[tuple[str, float, float]]:
    operation = ops.Frames(FRAMES, ops.RandomSpan(SPAN), ops.RandomResizedCrop(224), flip=0.5)
    rows = []
    for interval in (60, 250):
        with tempfile.TemporaryDirectory() as scratch:
            path = write_tar(Path(scratch), "mp4", (make_mp4(number, interval) for number in range(files)))
            data = ShardDataset.from_webdataset(path).decode(mp4=operation)
            rows.append(
                (
                    f"a key frame every {interval} frames",
                    *measure_in_turn(read_spans(data), partial(read_whole_videos, path), rounds),
                )
            )
    return rows


PARTS: dict[str, tuple[str, int, Callable[[int, int], list[tuple[str, float, float]]]]] = {
    "audio": (
        "2 s of FLAC files, 44.1 kHz, to 80 mel bands at 16 kHz, beside webdataset, `librosa.load` and "
        "`melspectrogram` of whole files",
        48,
        run_audio,
    ),
    "video": (
        "8 frames of 2 s of H.264 in MP4, 640 × 360, a minute, to 224 × 224, beside PyAV decoding whole files and "
        "converting these 8",
        4,
        run_video,
    ),
}
"""By subcommand: what is measured, the number of files, and what measures it."""


def describe(name: str, rows: list[tuple[str, float, float]]) -> str:
    lines = [
        f"## {name.capitalize()}",
        "",
        f"{PARTS[name][0]}. CPU milliseconds a sample on one thread, in turn; load {os.getloadavg()[1]:.1f} on "
        f"{os.cpu_count()} cores of {read_cpu()}.",
        "",
        "| files | spans | whole files | ratio |",
        "| --- | --- | --- | --- |",
        *(f"| {label} | {found * 1e3:.2f} | {whole * 1e3:.2f} | {found / whole:.3f} |" for label, found, whole in rows),
    ]
    return "\n".join(lines) + "\n"


def read_cpu() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else "an unknown processor"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--files", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    _, files, run = PARTS[options.part]
    text = describe(options.part, run(options.files or files, options.rounds))
    print(text)
    before = options.out.read_text(encoding="utf-8") if options.out.exists() else "# Spans of audio and video\n"
    parts = [part for part in re.split(r"(?m)^(?=## )", before) if not part.startswith(text.partition("\n")[0])]
    options.out.write_text("\n".join(part.rstrip() + "\n" for part in [*parts, text]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
