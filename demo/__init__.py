"""The demo corpus: a cabinet of sounding things, a web site that is generated from a seed and really crawled.

`plan` says what there is and what is wrong with it, `site` renders any page, picture or sound of it, `server` serves it
on loopback; `python -m demo` shows it to a person. There is nothing on disk and nobody's data in it.
"""
