"""What several tests of whole runs share."""

import pytest

from tests.support.dvc_checkout import DvcCheckout, run_demo


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> DvcCheckout:
    """The demo, run by DVC."""
    return run_demo(tmp_path_factory.mktemp("dvc"))
