"""Fetch pages, what they embed, and lists of URLs: the stage `crawl`, the only one that uses the network.

`breadth_first` decides which URLs are tried and in which order, `visit_url` applies robots.txt, redirects and opt-outs
to one of them, `client` gets responses from the `journal` or by an `http_request`. The rules are pure and have modules
of their own: `urls`, `addresses`, `robots`, `opt_outs`, `links`.
"""
