"""Hold what is the same for all processes of a crawl."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.params import RunParams
from pipeline.crawl.listed_hosts import ListedHost
from pipeline.crawl.params import CrawlParams

if TYPE_CHECKING:
    from pipeline.crawl.journal import Clock


@dataclass(frozen=True)
class CrawlSetup:
    """The params, the hosts that these list by name, the folder of the journals, how to run, and the clock."""

    params: CrawlParams
    hosts: Mapping[str, ListedHost]
    answers: Path
    run: RunParams
    clock: "Clock" = time.time
