"""A file full of metadata for each media type of images, audio and video."""

from functools import cache

from pipeline.formats.type_names import (
    AAC,
    AIFF,
    AVIF,
    BMP,
    FLAC,
    GIF,
    HEIC,
    JPEG,
    M4A,
    MP3,
    NIST,
    OPUS,
    PNG,
    TIFF,
    VORBIS,
    WAV,
    WEBP,
)
from tests.support.factory_audio import (
    make_dirty_aac,
    make_dirty_aiff,
    make_dirty_m4a,
    make_dirty_mp3,
    make_dirty_nist,
    make_dirty_opus,
)
from tests.support.factory_heif import make_dirty_avif, make_dirty_heic
from tests.support.factory_images import make_dirty_bmp, make_dirty_gif, make_dirty_tiff, make_dirty_webp
from tests.support.factory_media import (
    make_dirty_flac,
    make_dirty_jpeg,
    make_dirty_ogg,
    make_dirty_png,
    make_dirty_wav,
)


@cache
def make_dirty_files() -> dict[str, bytes]:
    return {
        JPEG: make_dirty_jpeg(),
        PNG: make_dirty_png(),
        WEBP: make_dirty_webp(),
        GIF: make_dirty_gif(),
        BMP: make_dirty_bmp(),
        TIFF: make_dirty_tiff(),
        AVIF: make_dirty_avif(),
        HEIC: make_dirty_heic(),
        WAV: make_dirty_wav(),
        VORBIS: make_dirty_ogg(),
        FLAC: make_dirty_flac(),
        OPUS: make_dirty_opus(),
        MP3: make_dirty_mp3(),
        AAC: make_dirty_aac(),
        M4A: make_dirty_m4a(),
        AIFF: make_dirty_aiff(),
        NIST: make_dirty_nist(),
    }
