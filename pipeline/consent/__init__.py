"""Read what owners say of the use of their content: in robots.txt, in files of the site, in headers, pages and files.

`signals` is the table of all of them. Each reader is pure, a file a place, and returns statements; `find_refusal` picks
the one that counts under the params. Nothing here fetches anything, and no reader fails on any bytes.
"""
