"""Write the responses of a crawl as WARC files (ISO 28500, version 1.1), so that others can replay them.

`captures` decides which responses, `records` encodes one, `files` writes them in order.
"""
