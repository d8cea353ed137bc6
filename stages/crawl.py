"""Fetch pages, what they embed, and listed URLs: `data/1_crawled`."""

import sys

from pipeline.crawl.params import CrawlParams
from pipeline.crawl.step import crawl
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import CRAWLED_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return crawl(stage.read_block("crawl", CrawlParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("crawl", [CRAWLED_FOLDER], step))
