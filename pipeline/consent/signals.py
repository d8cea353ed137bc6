"""Define the table of signals: by what, where and under which specification owners refuse the use of their content."""

from dataclasses import dataclass
from typing import Literal

SignalName = Literal[
    "content-usage",
    "content-signal",
    "rsl",
    "tdmrep",
    "ai-txt",
    "noai",
    "noimageai",
    "noindex",
    "noimageindex",
    "plus-data-mining",
    "c2pa-training-mining",
]


@dataclass(frozen=True)
class Signal:
    """A signal: what it looks like, where it is read, the uses that it can refuse, and what defines it."""

    example: str
    places: str
    uses: str
    source: str


SIGNALS: dict[SignalName, Signal] = {
    "content-usage": Signal(
        "`Content-Usage: /path train-ai=n`",
        "robots.txt, header",
        "each",
        "IETF AI Preferences, draft-ietf-aipref-attach and -vocab",
    ),
    "content-signal": Signal(
        "`Content-Signal: ai-train=no`", "robots.txt, header", "each", "Content Signals Policy, contentsignals.org"
    ),
    "rsl": Signal(
        "`License: https://…/license.xml`",
        "robots.txt, `Link` header, `<link>` and `<script>` of type application/rsl+xml",
        "each that no licence grants free of charge and conditions",
        "Really Simple Licensing 1.0, rslstandard.org",
    ),
    "tdmrep": Signal(
        "`tdm-reservation: 1`",
        "/.well-known/tdmrep.json, header, meta element, XMP",
        "ai-train, ai-input",
        "TDM Reservation Protocol, W3C community group, 2024",
    ),
    "ai-txt": Signal("`Disallow: *.jpg`", "/ai.txt", "ai-train", "Spawning's ai.txt, in the syntax of robots.txt"),
    "noai": Signal("`noai`, `noml`", "X-Robots-Tag, meta robots", "ai-train, ai-input", "DeviantArt 2022; noml.info"),
    "noimageai": Signal(
        "`noimageai`", "X-Robots-Tag, meta robots", "ai-train, ai-input of images", "DeviantArt 2022; img2dataset"
    ),
    "noindex": Signal("`noindex`, `none`", "X-Robots-Tag, meta robots", "all", "Robots meta tags; img2dataset"),
    "noimageindex": Signal(
        "`noimageindex`", "X-Robots-Tag, meta robots", "all, of images", "Robots meta tags; img2dataset"
    ),
    "plus-data-mining": Signal(
        "`plus:DataMining` DMI-PROHIBITED…",
        "XMP in images, audio and video",
        "by its value",
        "PLUS License Data Format 2.0.1; IPTC Photo Metadata 2023.1",
    ),
    "c2pa-training-mining": Signal(
        "`cawg.training-mining` notAllowed, constrained",
        "C2PA manifests in images, audio and video",
        "by its entries",
        "C2PA 1.4, section 18.21; CAWG Training and Data Mining 1.1",
    ),
}
"""The signals that `consent.ignore` may name. docs/crawling.md has this table."""
