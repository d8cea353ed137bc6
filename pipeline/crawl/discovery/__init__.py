"""Find what to request besides the links of pages, and bound it: sitemaps, feeds, patterns of URLs, canonical links.

`listings` tells sitemaps and feeds from other responses and reads them; `sitemaps`, `feeds` and `json_feeds` know their
forms, `xml_elements` parses XML that anybody may have written.
"""
