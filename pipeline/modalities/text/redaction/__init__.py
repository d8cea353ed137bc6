"""Replace personal data in texts by placeholders.

`redact` does it, by `emails` and `phones`. `letters` are the classes of characters that end an address or a number,
`digit_runs` what may be a phone number, `phone_words` the words after which digits are one, and `phone_regions` the
national plans of numbers.
"""
