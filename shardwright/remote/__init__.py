"""Read datasets at a URL: fetch files and keep them in a local cache."""
