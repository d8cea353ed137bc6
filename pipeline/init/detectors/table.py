"""List the layouts that are known, in the order in which they are tried: to add one, write a function that returns a
`Proposal` and add it here."""

from collections.abc import Sequence

from pipeline.init.detectors.paths import (
    FALLBACK,
    detect_class_folders,
    detect_files,
    detect_named_files,
    detect_pairs,
    detect_split_folders,
    detect_twin_folders,
)
from pipeline.init.detectors.shards import detect_bytes, detect_webdataset
from pipeline.init.detectors.tables import detect_tables
from pipeline.init.detectors.transcripts import detect_kaldi, detect_subtitles
from pipeline.init.detectors.urls import detect_urls
from pipeline.init.proposal import Detector, Proposal
from pipeline.init.survey import Survey

DETECTORS: Sequence[Detector] = (
    detect_urls,
    detect_kaldi,
    detect_webdataset,
    detect_bytes,
    detect_subtitles,
    detect_tables,
    detect_twin_folders,
    detect_pairs,
    detect_split_folders,
    detect_class_folders,
    detect_named_files,
    detect_files,
)
"""Special ones first: of proposals that explain as much, the first is taken."""

CLEAR = 0.6
"""The share of the files that a proposal must explain to be taken before those that explain more."""


def list_proposals(survey: Survey) -> list[Proposal]:
    """Return what the data may be, best first."""
    found = [proposal for detect in DETECTORS if (proposal := detect(survey)) is not None]
    found.sort(key=lambda proposal: proposal.layout == FALLBACK)
    clear = [proposal for proposal in found if proposal.share >= CLEAR]
    rest = sorted((each for each in found if each.share < CLEAR), key=lambda each: -each.share)
    return [*clear, *rest]
