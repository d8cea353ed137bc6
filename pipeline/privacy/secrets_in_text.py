"""Find secrets in URLs and texts: credentials before a host, values of keys such as `token`, keys of known services."""

import re

from pipeline.privacy.spans import Span, join_spans

_PRINTED = r"[!$%'*+,./0-9:=?@A-Z\\^_`a-z|~-]"
_USER_INFO = re.compile(r"://(?P<value>[^\s/?#@\[\]]{1,256}+)@(?=[\w\[])")
_PARAMETER = re.compile(
    r"(?<=[?&;#])(?:(?P<sure>(?:[A-Za-z0-9]{1,20}[_.-]){0,3}(?:token|secret|password|passwd|pwd|pass|apikey|api[_-]?key|"
    r"access[_-]?key|secret[_-]?key|private[_-]?key|accesskeyid|jwt|sig|signature|credential|auth|authorization|bearer|otp|"
    r"session|sessionid|session[_-]?id|phpsessid|jsessionid|ticket|security-token))"
    r"|(?P<likely>key|code|sid|hash|invite|state|nonce|magic|t|k|s|authkey|hmac|policy))"
    rf"(?:=|%3[Dd])(?P<value>{_PRINTED}{{1,2048}}+)",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"/(?:reset|reset-password|verify|verification|confirm|unsubscribe|invite|invitation|magic|token|auth|activate)/"
    r"(?P<value>[A-Za-z0-9_-]{16,512}+)",
    re.IGNORECASE,
)
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_])(?P<value>eyJ[A-Za-z0-9_-]{8,4096}+\.eyJ[A-Za-z0-9_-]{8,4096}+\.[A-Za-z0-9_-]{8,1024}+"  # JWT
    r"|gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_[A-Za-z0-9_]{22,255}+|glpat-[A-Za-z0-9_-]{20,64}+"
    r"|xox[abprs]-[A-Za-z0-9-]{10,255}+|sk-[A-Za-z0-9_-]{20,255}+|sk_live_[A-Za-z0-9]{16,255}+|hf_[A-Za-z0-9]{30,64}+"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])|AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-]))"
)
MIN_LIKELY = 12
"""Characters of the value of a key that is often no secret; and it must have digits and letters."""


def find_secrets(text: str) -> list[Span]:
    """Return the spans of secrets."""
    spans: list[Span] = []
    if "://" in text:
        spans += [match.span("value") for match in _USER_INFO.finditer(text)]
    if "=" in text or "%3" in text:
        for match in _PARAMETER.finditer(text):
            start, value = match.start("value"), match["value"].rstrip(".,:?!'")
            if value and (match["sure"] or _looks_drawn(value)):
                spans.append((start, start + len(value)))
    if "/" in text:
        spans += [match.span("value") for match in _LINK.finditer(text) if _looks_drawn(match["value"])]
    spans += [match.span("value") for match in _KNOWN.finditer(text)]
    return join_spans(spans)


def _looks_drawn(value: str) -> bool:
    """Return whether a value looks like it was drawn by chance, not written."""
    return len(value) >= MIN_LIKELY and any(map(str.isdigit, value)) and any(map(str.isalpha, value))
