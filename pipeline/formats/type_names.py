"""Name the media types that the pipeline reads. They are apart from what finds them: features are cached by the code
that their modules import, and a new signature computes none again."""

JPEG, PNG, WEBP, GIF = "image/jpeg", "image/png", "image/webp", "image/gif"
BMP, TIFF, AVIF, HEIC = "image/bmp", "image/tiff", "image/avif", "image/heic"
WAV, FLAC, VORBIS, OPUS = "audio/wav", "audio/flac", "audio/ogg", "audio/ogg; codecs=opus"
MP3, AAC, M4A, AIFF, NIST = "audio/mpeg", "audio/aac", "audio/mp4", "audio/aiff", "audio/x-nist"
TEXT, HTML = "text/plain", "text/html"
MP4, WEBM, MATROSKA, AVI = "video/mp4", "video/webm", "video/x-matroska", "video/x-msvideo"
