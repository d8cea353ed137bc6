"""Tables that people bring, a file format a module; `read_rows` reads any of them."""
