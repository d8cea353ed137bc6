"""Gives every item an identity: what was crawled and what lies in a folder, its type found from its bytes.

`crawled` and `folder` say which files came in, `contents` what a file holds; `parts` and `pages` take texts and web
pages apart, `table` reads what the user says about files.
"""
