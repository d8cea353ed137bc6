"""Tell by its name what a file may be: nothing is opened, as a folder may have millions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

MODALITY_ENDINGS: Mapping[str, Sequence[str]] = {
    modality: endings.split()
    for modality, endings in {
        "image": "jpg jpeg jpe jfif png webp gif bmp dib tif tiff avif heic heif",
        "audio": "wav flac ogg oga opus mp3 m4a aac aif aiff aifc sph",
        "text": "txt caption lab transcript",
        "video": "mp4 m4v mov webm mkv avi",
    }.items()
}
"""By modality, the endings of its files' names, in lower case."""

TABLE_ENDINGS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather", "cls")
TRANSCRIPT_ENDINGS = ("srt", "vtt", "textgrid", "ctm")
PAGE_ENDINGS = ("html", "htm", "xhtml")

KALDI_FILES = ("wav.scp", "segments", "utt2spk", "spk2utt", "text")
"""Names of the files of a Kaldi folder, which have no ending that says so."""

_KINDS = {
    **{ending: modality for modality, endings in MODALITY_ENDINGS.items() for ending in endings},
    **dict.fromkeys(TABLE_ENDINGS, "table"),
    **dict.fromkeys(TRANSCRIPT_ENDINGS, "transcript"),
    **dict.fromkeys(PAGE_ENDINGS, "page"),
}


def find_ending(file: str) -> str:
    """Return the ending of a file's name in lower case, without the dot; empty where there is none."""
    return PurePosixPath(file).suffix[1:].lower()


def name_form(file: str) -> str:
    """Return what files are counted by: the ending with its dot, or the name where that says what the file is."""
    name = PurePosixPath(file).name
    return name if name in KALDI_FILES else f".{ending}" if (ending := find_ending(file)) else ""


def name_kind(file: str) -> str:
    """Return what a file may be: a modality, `table`, `transcript`, `page`, or `other`."""
    return "table" if PurePosixPath(file).name in KALDI_FILES else _KINDS.get(find_ending(file), "other")


def split_stem(file: str) -> tuple[str, str]:
    """Return the path of a file without its last ending, and the ending with its dot."""
    path = PurePosixPath(file)
    return (str(path.with_suffix("")), path.suffix) if path.suffix else (file, "")


def rank(counts: Counter[str]) -> list[tuple[str, int]]:
    """Return names and their counts, the largest first, equal ones by name."""
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))
