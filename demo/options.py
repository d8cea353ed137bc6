"""Options of the generated site: `crawl.hosts.demo.test.options` of `params.yaml`."""

from typing import Annotated

from pydantic import Field

from pipeline.config.params import Params


class DemoOptions(Params):
    """What the generated site holds."""

    things: Annotated[int, Field(ge=60, le=9999)] = 1200
    """Number of things, flawed ones and duplicates included; with 60 every flaw occurs at least once."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 7
    """Another seed is another cabinet: other images, recordings and captions, and other flawed things."""
    slow_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long the slow URL takes to answer; longer than the crawl waits."""
