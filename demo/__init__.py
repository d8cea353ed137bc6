"""Generate the demo corpus from a seed: a cabinet of sounding things, as a web site that the crawl stage crawls.

`plan` plans its things and their flaws, `site` renders its pages, pictures and sounds, `server` serves it on loopback:
to the crawl, whose `crawl.hosts` names `demo.server:serve`, and by `python -m demo` to a person. Nothing is stored, and
no person's data is in it.
"""
