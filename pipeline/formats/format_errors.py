"""Define the exceptions that parsers raise for bytes that are not of their format."""


class FormatFault(ValueError):  # noqa: N818 - a fault of the data, not of the program
    """The bytes are not of this format, or are damaged. The message says where, and quotes no content."""


class Truncated(FormatFault):
    """The bytes end before the file is complete."""


class Unsupported(FormatFault):
    """The bytes are of a variant of this format that no decoder here reads. The message says which, and what to do."""
