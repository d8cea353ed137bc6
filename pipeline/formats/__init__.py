"""Parse file formats from bytes: media types, containers, tables and web pages."""
