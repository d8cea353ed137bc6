"""Give every item an identity: the stage `ingest`.

`sources` lists the files that come in, `read_contents` finds the items of a file by its bytes, `split_text` and
`read_page` split texts and web pages; `step` writes a row for each item.
"""
