"""Takes secrets out of text before it is shown or logged: known values first, then what looks like one."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MARK = "[redacted]"
SHORTEST = 6  # a shorter value would blank out ordinary words

# The name must be whole: `max_tokens`, `prompt_tokens` and `token_count` are no secrets, and neither
# is a bare number behind `token`.
_NAME = r"""(?<![A-Za-z0-9_]) (?: [A-Za-z0-9]+ [_-] ){0,6}?
    (?: api[_-]?key | access[_-]?key | secret[_-]?key | token | secret | password | passwd
      | passphrase | authorization | cookie ) (?![A-Za-z0-9_-])"""
_VALUE = r"""(?! \[redacted\] | [0-9.,]+ (?: [\s"',;}\])] | \Z ) ) [^\s"',;}\])]{6,}"""
_NAMED = re.compile(
    rf"""(?ix) ( {_NAME} ["']? \s* [:=] \s* ["']? (?: (?:bearer|basic) \s+ )? ) {_VALUE}"""
)
_OPTION = re.compile(rf"""(?ix) ( -- {_NAME} (?: \s+ | ["'],\s*["'] ) ) {_VALUE}""")
_BEARER = re.compile(r"(?i)\b((?:bearer|basic)\s+)(?!\[redacted\])([A-Za-z0-9._~+/=-]{6,})")
_SHAPED = re.compile(
    r"""(?x) \b (?:
        sk-[A-Za-z0-9_-]{8,} | hf_[A-Za-z0-9]{8,} | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,}
      | xox[abprs]-[A-Za-z0-9-]{8,} | AKIA[A-Z0-9]{12,} | AIza[\w-]{20,} | glpat-[\w-]{12,}
      | eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*
    )"""
)
_USERINFO = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{1,200}:[^\s/@]{1,200}@")


class Redactor:
    """Knows this gateway's own secrets."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {
            form
            for secret in secrets
            if len(secret) >= SHORTEST
            for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))
        }
        # Longest first, so that a secret that begins like another one goes whole.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __call__(self, text: str) -> str:
        """The text without secrets; text without any comes back unchanged."""
        if self._known is not None:
            text = self._known.sub(MARK, text)
        text = _SHAPED.sub(MARK, text)
        text = _USERINFO.sub(rf"\1{MARK}@", text)
        text = _BEARER.sub(rf"\1{MARK}", text)
        text = _OPTION.sub(rf"\1{MARK}", text)
        return _NAMED.sub(rf"\1{MARK}", text)
