"""Fetch pages, what they embed, and lists of URLs: the stage `crawl`, the only one that uses the network.

`breadth_first` decides which URLs are tried and in which order, `site_rules` asks what a site says of one of them,
`visit_url` follows its redirects and respects what its response says of its use, `client` gets responses from the
`journal` or from the `wire`. The rules are pure and have modules of their own: `addresses`, `robots`, `redirects`,
`links`, and all of `pipeline.consent`.
"""
