"""Find personal data in texts and names, and replace it: one policy for everywhere that text stands.

`kinds` lists what is looked for, `policy` says what takes its place, `redact_text` does it for texts and `redact_names`
for the columns of tables that name things. Each family of kinds is a file: `emails`, `phones` (with `digit_runs`,
`phone_words` and `phone_regions`), `ip_addresses`, `cards`, `ibans`, `national_ids`, `secrets_in_text`, `birth_dates`,
`passports`, `person_names`. Each finds spans in linear time. `letters` are the classes of characters that end a span,
since `\\b` sees no end between 到 and `li@example.com`; `cues` are words after which a number is one of a kind.
"""
