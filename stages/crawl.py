"""Fetch pages, what they embed, and listed URLs: `data/1_crawled`."""

import sys

from pipeline.contracts import CRAWLED_FOLDER
from pipeline.crawl.params import CrawlParams
from pipeline.crawl.step import crawl
from pipeline.demo.params import DemoParams
from pipeline.records import Outcome
from pipeline.stage import Stage, run_stage


def step(stage: Stage) -> Outcome:
    """Run the stage on its blocks of `params.yaml`."""
    return crawl(stage.read_block("crawl", CrawlParams), stage.read_block("demo", DemoParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("crawl", [CRAWLED_FOLDER], step))
