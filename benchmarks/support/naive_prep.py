"""What a competent user would write instead: a process pool over librosa, OpenCV and spaCy, and webdataset's writer.

    python -m benchmarks.support.naive_prep FOLDER OUT --image .png --audio _desc_es.ogg [--processes 2]

It reads a folder of samples `<label>/…/<stem><image>`, `<stem><audio>` and `<stem>.txt` (the first line counts),
drops nothing, checks nothing, and hands `samples` and `seconds` to `benchmarks.support.apart`, imports of the workers
included.
"""

import argparse
import io
import json
import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.apart import write_outcome

SIDE, RATE, COEFFICIENTS, FFT, HOP, MELS = 224, 16_000, 40, 400, 160, 64
TOOLS: dict[str, Any] = {}
"""What each process loads once."""


def load_tools() -> None:
    import cv2
    import librosa
    import spacy

    cv2.setNumThreads(1)
    TOOLS.update(cv2=cv2, librosa=librosa, nlp=spacy.blank("en"))


def save_array(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def make_sample(named: tuple[int, Path], root: Path, image: str, audio: str) -> dict[str, Any]:
    number, stem = named
    cv2, librosa = TOOLS["cv2"], TOOLS["librosa"]
    pixels = cv2.imread(f"{stem}{image}", cv2.IMREAD_COLOR)
    pixels = cv2.cvtColor(cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    samples, rate = librosa.load(f"{stem}{audio}", sr=RATE)
    mfcc = librosa.feature.mfcc(y=samples, sr=rate, n_mfcc=COEFFICIENTS, n_fft=FFT, hop_length=HOP, n_mels=MELS)
    with Path(f"{stem}.txt").open(encoding="utf-8") as file:
        words = [token.text for token in TOOLS["nlp"](file.readline().strip())]
    return {
        "__key__": f"{number:07d}",
        "image.npy": save_array(pixels),
        "mfcc.npy": save_array(mfcc.astype(np.float32)),
        "tokens.json": json.dumps(words).encode(),
        "cls": stem.relative_to(root).parts[0].encode(),
    }


def prepare(options: argparse.Namespace) -> tuple[int, float]:
    """How many samples were written, and the seconds that it took."""
    import webdataset

    images = sorted(options.folder.glob(f"**/*{options.image}"))
    stems = [path.parent / path.name.removesuffix(options.image) for path in images]
    make = partial(make_sample, root=options.folder, image=options.image, audio=options.audio)
    options.out.mkdir(parents=True)
    start = time.perf_counter()
    with (
        webdataset.ShardWriter(f"{options.out}/shard-%05d.tar", maxcount=500, verbose=0) as writer,
        multiprocessing.Pool(options.processes, load_tools) as pool,
    ):
        for sample in pool.imap(make, enumerate(stems), chunksize=16):
            writer.write(sample)
    return len(stems), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--image", required=True)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--processes", type=int, default=2)
    samples, seconds = prepare(parser.parse_args())
    write_outcome({"samples": samples, "seconds": seconds})


if __name__ == "__main__":
    main()
