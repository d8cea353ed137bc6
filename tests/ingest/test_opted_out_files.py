"""Test that files whose own metadata refuses training are dropped before that metadata is cut away."""

from pathlib import Path

import pytest

from tests.support.ingesting import make_image, make_params, run_ingest, write_files
from tests.support.opted_out import make_chunk, make_manifest, make_mining

pytestmark = pytest.mark.slow


def add_chunk(image: bytes, chunk: bytes) -> bytes:
    """Return a PNG with another chunk behind its header."""
    return image[:33] + chunk + image[33:]


FILES = {
    "free.png": make_image(),
    "mining.png": add_chunk(make_image(), make_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + make_mining())),
    "manifest.png": add_chunk(make_image(), make_chunk(b"caBX", make_manifest())),
    "quote.txt": make_mining(),
}


def test_files_that_refuse_training_are_dropped_with_their_line(tmp_path: Path) -> None:
    write_files(tmp_path / "inbox", FILES)
    result = run_ingest(tmp_path, make_params())
    assert result.reasons == {"folder:mining.png": "opted_out", "folder:manifest.png": "opted_out"}
    (drop,) = (drop for drop in result.drops if drop.key == "folder:manifest.png")
    assert drop.value == "cawg.training-mining: cawg.ai_generative_training notAllowed"
    assert (drop.setting, drop.limit) == ("ingest.consent.uses", "ai-train")


@pytest.mark.parametrize(
    "consent", [{"ignore": ["plus-data-mining", "c2pa-training-mining"]}, {"uses": ["search"]}], ids=["ignore", "uses"]
)
def test_signals_that_do_not_count_are_a_setting(tmp_path: Path, consent: dict[str, list[str]]) -> None:
    write_files(tmp_path / "inbox", FILES)
    assert run_ingest(tmp_path, make_params(consent=consent)).reasons == {}
