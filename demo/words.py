"""Write captions: one sentence of 8 to 25 words, like a collector's on the card beside a thing.

A clear caption names the thing by one of its nouns, a vague one only its family. Who, when and where it was recorded
does not depend on the kind, and some captions mention a neighbour in the cabinet, to mislead models that only count
words.
"""

import re

import numpy as np

from demo.kinds import KINDS, Family, Kind

FAMILY_NOUNS: dict[Family, tuple[str, ...]] = {
    Family.ANIMAL: ("animal", "wild animal", "creature"),
    Family.VEHICLE: ("vehicle", "working vehicle", "means of transport"),
    Family.ELEMENT: ("force of nature", "restless element", "natural force"),
    Family.MADE: ("handmade object", "made object", "work of craft"),
}
VAGUE_VERBS = ("sounding", "making itself heard", "up and about", "at work", "keeping time")

TEMPLATES = (
    "{A} {thing}, {verb} {when}, as {who} drew it {how}.",
    "{When} we heard {a} {thing} {verb}, and {who} drew it {how}.",
    "This is {a} {thing} as {who} knew it: {verb} {when}, {rather}.",
    "{Who} waited {wait} for {a} {thing} and found it {verb} at last.",
    "Listen closely: {a} {thing}, {rather}, {verb} {when}.",
    "{A} {thing} was {verb} {when}; {who} kept the sound and drew it {how}.",
    "Nobody expected {a} {thing} {when}, yet there it was, {verb}, {rather}.",
    "Card {card}: {a} {thing} {verb} {when}, given to the cabinet by {who}.",
    "What you hear is {a} {thing}, {verb}, {rather}; what you see was drawn {how}.",
    "{A} {thing}? {Who} swears it was, {verb} {when}, {rather}.",
    "If {a} {thing} is {verb} {when}, {who} will be there with a pencil.",
    "Drawn {how}, {when}: {a} {thing} {verb}, {rather}.",
)
WHENS = (
    "before breakfast", "after supper", "one Sunday in March", "late in October", "at first light", "around midnight",
    "on the longest day", "in the noon quiet", "on a Tuesday", "during the holidays", "in a hard winter",
    "after the last visitor", "as the shops closed", "all afternoon",
)  # fmt: skip
WHOS = (
    "Ada Quill", "old Mr Thimble", "Miss Marrow", "our neighbour Odile", "a passing student",
    "Captain Fennel", "the schoolteacher", "Ivo Lark", "somebody patient", "little Wren Abbot",
)  # fmt: skip
HOWS = (
    "in soft pencil", "from memory", "with cold fingers", "on a tram ticket", "in borrowed ink",
    "with great care", "in one sitting", "for the cabinet", "without looking up",
)  # fmt: skip
RATHERS = (
    "rather louder than usual", "rather out of breath", "as if on stage", "much as ever", "quite unhurried",
    "slightly out of tune", "to our great delight", "for the third time", "louder than last year",
)  # fmt: skip
WAITS = ("all morning", "three long nights", "an hour and a half", "most of a week", "only a minute", "half a lifetime")

MAX_WORDS = 25
NEIGHBOUR_SHARE = 0.12
VAGUE_VERB_SHARE = 0.25

EMAILS = (
    "{name}@example.org", "{name}.{year}@post.example.org", "{name}+prints@example.org", "{NAME}@EXAMPLE.ORG",
    "{name}_{year}@archive.example.org",
)  # fmt: skip
EMAIL_TAILS = (
    "Prints from {email}.", "Write to {email} for a copy.", "Corrections to <{email}>, please.", "Contact: {email}",
)  # fmt: skip
PHONES = (
    "({area}) 555-{line}", "{area}-555-{line}", "+1 {area} 555 {line}", "{area}.555.{line}", "+1-{area}-555-{line}",
)  # fmt: skip
PHONE_TAILS = (
    "Ring {phone} to hear it live.", "Telephone {phone}.", "Ask for it on {phone}, evenings only.", "Tel. {phone}",
)  # fmt: skip
AUTHORS = ("Ada Quill", "Ivo Lark", "Odile Marrow", "Captain Fennel", "Wren Abbot")
LICENCES = ("CC0-1.0", "CC-BY-4.0")
NAMES = ("ada.quill", "ivo.lark", "thimble", "odile", "fennel", "wren.abbot")


def choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Choose one of the options, each with the same probability."""
    return options[int(rng.integers(len(options)))]


def add_article(noun: str) -> str:
    """Return `an owl` or `a boat`, by the first letter, which is right for every noun used here."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def write_caption(kind: Kind, vague: bool, rng: np.random.Generator) -> str:
    """Write a sentence about a thing of this kind; a vague one names only its family."""
    noun = choose(rng, FAMILY_NOUNS[kind.family] if vague else kind.nouns)
    verb = choose(rng, VAGUE_VERBS if vague or rng.random() < VAGUE_VERB_SHARE else kind.verbs)
    words = {
        "a": add_article(noun).split()[0], "thing": noun, "verb": verb, "when": choose(rng, WHENS),
        "who": choose(rng, WHOS), "how": choose(rng, HOWS), "rather": choose(rng, RATHERS), "wait": choose(rng, WAITS),
        "card": str(int(rng.integers(11, 990))),
    }  # fmt: skip
    words |= {name.capitalize(): text[0].upper() + text[1:] for name, text in words.items()}
    sentence = choose(rng, TEMPLATES).format(**words)
    if rng.random() < NEIGHBOUR_SHARE:
        neighbour = KINDS[int(rng.integers(len(KINDS)))]
        longer = sentence[:-1] + f", next to the {choose(rng, neighbour.nouns)}."
        return longer if len(longer.split()) <= MAX_WORDS else sentence
    return sentence


def write_email(rng: np.random.Generator) -> tuple[str, str]:
    """Write a sentence with an e-mail address; return it with the address."""
    name = choose(rng, NAMES)
    email = choose(rng, EMAILS).format(name=name, NAME=name.upper(), year=int(rng.integers(1950, 2000)))
    return choose(rng, EMAIL_TAILS).format(email=email), email


def write_phone(rng: np.random.Generator) -> tuple[str, str]:
    """Write a sentence with a telephone number; return it with the number.

    555-0100 to 555-0199 are reserved for fiction. Source: North American Numbering Plan, 555 line numbers 0100 to 0199.
    """
    phone = choose(rng, PHONES).format(area=choose(rng, ("212", "415", "613")), line=f"01{int(rng.integers(100)):02d}")
    return choose(rng, PHONE_TAILS).format(phone=phone), phone


def retype(caption: str, rng: np.random.Generator) -> str:
    """Return the caption with other case and punctuation, but the same words."""
    retyped = re.sub(r"[:;?]", ",", caption).rstrip(".")
    return retyped.upper() if rng.random() < 0.3 else retyped.lower() + "!"
