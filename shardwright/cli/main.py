"""Run the command `shardwright`: verbs on shards, and the verbs that other packages add.

Exit codes: 0 for success, 1 where problems were found, 2 for an error, 130 when interrupted.
"""

import argparse
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.cli.terminal import escape_controls
from shardwright.datasets.shard_dataset import ShardDataset
from shardwright.errors import ShardwrightError
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.checksum import compute_crc32
from shardwright.format.field import Field
from shardwright.format.index import decode_key
from shardwright.format.manifest import MANIFEST_NAME, read_manifest
from shardwright.format.verify import verify
from shardwright.remote.settings import hide_secrets, is_url

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, for grey, grey with alpha, RGB, RGBA, by the number of channels


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image as a PNG file.

    Args:
        pixels: uint8 (height, width) or (height, width, channels), channels 1 to 4: grey, grey and alpha, RGB, RGBA.

    Raises:
        ValueError: another dtype or shape.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in COLOUR_TYPES:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; they must be uint8 with 1 to 4 channels")
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_encode_chunk(kind, data) for kind, data in chunks)


def _encode_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", compute_crc32(kind + data))


ENTRY_POINTS = "shardwright.commands"
"""The group of entry points for other packages' verbs, each a function from arguments to exit code."""

PIPELINE_HINT = "The pipeline's verbs need its checkout: pip install -e '.[pipeline]'"

CHECKOUT = str(Path(__file__).resolve().parents[2])
"""The folder of the package `pipeline`, if this is a checkout."""

OK, PROBLEMS, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of the process, and return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    verb = words[0] if words else "--help"
    if verb in VERBS:
        return _run_verb(words)
    added = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if verb.startswith("-"):
        return _run_verb(words or [verb], sorted(added))
    if verb in added:
        return _run_added(added[verb], words[1:])
    known = ", ".join([*VERBS, *sorted(added)])
    return report_error(f"unknown verb {verb!r}; it must be one of {known}. {PIPELINE_HINT}")


def _run_verb(words: Sequence[str], added: Sequence[str] = ()) -> int:
    try:
        options = _build_parser(added).parse_args(words)
    except SystemExit:
        run_verb(lambda: OK)  # writes out the help, which `head` may not read
        raise
    return run_verb(lambda: VERBS[options.verb](options))


def run_verb(act: Callable[[], int]) -> int:
    """Run a verb and return its exit code; an error becomes one line on stderr and the code 2."""
    try:
        code = act()
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as `head` has closed the pipe; Python would fail to flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        report_error("interrupted")
        return INTERRUPTED
    except KeyError as error:  # its str() would be the repr of the message
        return report_error(error.args[0])
    except OSError as error:
        return report_error(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (ShardwrightError, ModuleNotFoundError) as error:
        return report_error(str(error))
    return code


def _run_added(entry: EntryPoint, words: list[str]) -> int:
    if CHECKOUT not in sys.path:
        sys.path.append(CHECKOUT)  # an editable installation adds only `shardwright`
    try:
        run: Callable[[list[str]], int] = entry.load()
    except ModuleNotFoundError as error:
        return report_error(f"the verb {entry.name!r} needs {error.name}, which is not installed. {PIPELINE_HINT}")
    return run(words)


def report_error(message: str) -> int:
    """Write an error to stderr as one line; return the exit code for errors."""
    sys.stderr.write(f"shardwright: {escape_controls(message)}\n")
    return FAILED


def write_line(line: str = "") -> None:
    """Write a line to stdout, with control sequences escaped."""
    encoding = sys.stdout.encoding  # letters that it does not have become escapes
    sys.stdout.write(escape_controls(line).encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _parse_root(text: str) -> Path:
    if is_url(text):
        raise argparse.ArgumentTypeError(
            f"{hide_secrets(text)} is a URL; it must be a folder (ShardDataset reads URLs)"
        )
    return Path(text)


def _find_version() -> str:
    try:
        return version("shardwright")
    except PackageNotFoundError:  # run from the source without an installation
        return "unknown"


def _build_parser(added: Sequence[str]) -> argparse.ArgumentParser:
    others = f"Verbs of other packages: {', '.join(added)}." if added else PIPELINE_HINT
    parser = argparse.ArgumentParser("shardwright", description="Inspect and verify shards.", epilog=others)
    parser.add_argument("--version", action="version", version=f"shardwright {_find_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, summary in SUMMARIES.items():
        options = verbs.add_parser(verb, help=summary, description=summary)
        if verb == "index":
            options.add_argument("urls", metavar="SHARD", nargs="+", help="a folder, a file, or a pattern in quotes")
            options.add_argument("--beside", action="store_true", help="write the index to the folder of the shards")
            options.add_argument("--cache", metavar="FOLDER", type=Path, help="write the index to this folder")
            options.add_argument(
                "--decompress", action="store_true", help="decompress .tar.gz and .tar.zst into the cache"
            )
            options.add_argument("--reread", action="store_true", help="also read shards that have not changed")
            continue
        options.add_argument("root", metavar="ROOT", type=_parse_root, help=f"the folder with {MANIFEST_NAME}")
        if verb == "ls":
            options.add_argument("--split", help="list only this split")
        if verb == "show":
            options.add_argument("key", metavar="KEY", help="the sample's key, see `shardwright ls`")
            options.add_argument("--png", metavar="FOLDER", type=Path, help="write its images to this folder")
        if verb == "bench":
            options.add_argument("--split", help="the split to read (default: the one with the most samples)")
            options.add_argument("--batch-size", type=int, default=64, help="samples a batch (default: 64)")
            options.add_argument("--seconds", type=float, default=2.0, help="time for each measurement (default: 2)")
    return parser


def _verify(options: argparse.Namespace) -> int:
    report = verify(options.root)
    for problem in report.problems:
        write_line(str(problem))
    result = "ok" if report.ok else f"{len(report.problems)} problem{'s'[: len(report.problems) - 1]}"
    write_line(
        f"{result}: {report.samples} samples in {report.shards} shards, {_format_size(report.bytes)} read; "
        f"dataset {report.hash or 'unknown'}"
    )
    return OK if report.ok else PROBLEMS


def _info(options: argparse.Namespace) -> int:
    manifest = read_manifest(options.root)
    write_line(f"dataset {manifest.hash}")
    for name, split in manifest.splits.items():
        size = _format_size(sum(shard.bytes for shard in split.shards))
        write_line(f"split   {name}: {split.samples} samples in {len(split.shards)} shards, {size}")
    for name, field in manifest.fields.items():
        notes = [note for note in (field.axes, field.unit) if note]
        if field.padding is not None:
            notes.append(f"padded with {field.padding}")
        if field.varies:
            notes.append(f"stored as {field.encoding}")
        write_line(f"field   {name}: {field.dtype} {field.shape}" + "".join(f", {note}" for note in notes))
    if manifest.classes is not None:
        write_line(f"classes {len(manifest.classes)}: {', '.join(manifest.classes)}")
    if manifest.vocabulary is not None:
        write_line(f"vocabulary {manifest.vocabulary.name}")
    for source in manifest.sources or ():
        write_line(f"source  {source.source}: {source.samples} samples, {source.licence}, {source.attribution}")
    return OK


def _ls(options: argparse.Namespace) -> int:
    splits = [options.split] if options.split else list(read_manifest(options.root).splits)
    for split in splits:
        with ShardDataset(options.root, split) as data:
            for shard, keys in data.iterate_keys():
                for key in keys.tolist():
                    write_line(f"{split}/{shard}/{decode_key(key)}")
    return OK


def _show(options: argparse.Namespace) -> int:
    for split in read_manifest(options.root).splits:
        with ShardDataset(options.root, split) as data:
            try:
                index = data.find_sample(options.key)
            except KeyError:
                continue
            _show_sample(data, index)
            if options.png:
                _write_images(data, index, options.png)
            return OK
    return report_error(f"{options.root}: no split has a sample {options.key!r}; `shardwright ls` lists the keys")


def _show_sample(data: ShardDataset, index: int) -> None:
    sample = data[index]
    write_line(f"{data.split}/{data.find_shard(index)}/{sample['key']}")
    for name, field in data.fields.items():
        values = sample[name]
        write_line(
            f"{name}: {field.dtype} {field.shape}, min {values.min()}, max {values.max()}, "
            f"mean {values.mean(dtype=np.float64):.6g}"
        )
    for line in encode_canonical(data.meta(index), indent=1).decode().split("\n"):
        write_line(line)


def _write_images(data: ShardDataset, index: int, folder: Path) -> None:
    sample = data[index]
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in _list_images(sample, data.fields):
        path = folder / f"{sample['key']}.{name}.png"
        write_file(path, [encode_png(pixels)])
        write_line(f"wrote {path}")


def _list_images(sample: Mapping[str, Any], fields: Mapping[str, Field]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the images of a sample with their names: the field's, and the item's number where it has several."""
    for name, field in fields.items():
        axes = field.axes.removeprefix("N")
        if field.dtype == "uint8" and axes in ("HW", "HWC", "CHW"):
            several = axes != field.axes
            items = sample[name][: sample.get(f"{name}_count")] if several else [sample[name]]
            for number, item in enumerate(items):
                shown = item.transpose(1, 2, 0) if axes == "CHW" else item
                yield (f"{name}.{number}" if several else name), shown


def _index(options: argparse.Namespace) -> int:
    from shardwright.webdataset.build_index import index_shards

    chosen = {name: getattr(options, name) for name in ("cache", "beside", "reread", "decompress")}
    index = index_shards(options.urls, **chosen)
    size = _format_size(sum(shard.bytes for shard in index.shards))
    write_line(f"{len(index.table.faults)} samples in {len(index.shards)} shards, {size}")
    write_line(f"members {', '.join(suffix.name for suffix in index.suffixes)}")
    broken = int(np.count_nonzero(index.table.faults))
    if broken:
        write_line(f"{broken} samples are incomplete: see `incomplete` of ShardDataset.from_webdataset")
    return PROBLEMS if broken else OK


def _bench(options: argparse.Namespace) -> int:
    from shardwright.cli.bench import measure  # imports the loader

    splits = read_manifest(options.root).splits
    if not splits:
        return report_error(f"{options.root}: the dataset has no split to read")
    split = options.split or max(splits, key=lambda name: splits[name].samples)
    try:
        measured = measure(options.root, split, options.batch_size, options.seconds, threads=(1, 2, 0))
    except ValueError as error:
        return report_error(str(error))
    write_line(f"split {split}, batches of {options.batch_size}, {measured.sample_bytes / 1e3:,.1f} kB a sample")
    for speed in measured.speeds:
        rate = speed.rate * measured.sample_bytes
        write_line(f"  {speed.name:<22}{speed.rate:>12,.0f} samples/s {rate / 1e6:>9,.0f} MB/s")
    for sentence in measured.explain():
        write_line(sentence)
    return OK


def _format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


VERBS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "verify": _verify,
    "info": _info,
    "ls": _ls,
    "show": _show,
    "index": _index,
    "bench": _bench,
}
SUMMARIES = {
    "verify": "Check every byte of a dataset and report damage.",
    "info": "Show the splits, fields, classes and sources of a dataset.",
    "ls": "List the samples, one a line: split/shard/key.",
    "show": "Show one sample; with --png, write its images as PNG files.",
    "index": "Build the index of WebDataset tars.",
    "bench": "Measure how fast a split is read on this machine, and name the bottleneck.",
}
