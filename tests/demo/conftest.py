"""A small site of the demo, and its files, made once."""

import pytest

from demo.plan import Site
from demo.site import Response, render
from tests.demo.demo_site import make_site


@pytest.fixture(scope="session")
def site() -> Site:
    return make_site()


@pytest.fixture(scope="session")
def files(site: Site) -> dict[str, Response]:
    return {path: render(site, path, attempt=1) for path in site.things_by_path}
