"""Fetches pages, what they embed, and lists of URLs: politely, resumably, and the only stage that uses the network.

`walk` decides what is tried and in which order, `visit` what a URL gave, `exchange` makes one request; the rules are
pure and in files of their own: `urls`, `addresses`, `robots`, `opt_outs`, `links`.
"""
