"""How text becomes index terms: splitting, folding, stemming; pure."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]+")
_RUNS = re.compile(r"[a-z]+|[0-9]+")
_MARKS = re.compile(r"[\u0300-\u036f]")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

# s3, ec2, k8s, mp4, 2fa mean something only whole; anything longer reads better in parts.
SHORT_MIXED = 5

_STOP = (
    "a an and are as at be been being but by can could did do does doing for from had has have "
    "having he her hers him his how i if in into is it its just let like me might mine must my "
    "myself of off on or our ours shall she should so some such than that the their theirs them "
    "then there these they this those to too us very was we were what when where which while "
    "who whom why will with within without would you your yours please want wants wanted need "
    "needs needed help using use used uses via able also am any about given based specific "
    "specified each etc eg ie whether hey hi hello thanks thank okay ok sure kindly im ive dont cant "  # codespell:ignore
    "didn don doesn isn aren wasn weren couldn wouldn shouldn interested assist assistance really "  # codespell:ignore
)
STOP_WORDS = frozenset(_STOP.split())


def fold(text: str) -> str:
    """Lower case without accents; compatibility forms made plain."""
    if text.isascii():
        return text.lower()
    return _MARKS.sub("", unicodedata.normalize("NFKD", text)).lower()


def glue(text: str) -> str:
    """A name as one run of letters and digits: `create_pullRequest` is `createpullrequest`."""
    return "".join(_WORD.findall(fold(text)))


def words(text: str) -> Iterator[str]:
    """The words of a text or an identifier, in order, folded but not stemmed."""
    for word in _WORD.findall(fold(_CAMEL.sub(" ", text))):
        if word.isascii():
            yield from _parts(word)
        elif _IDEOGRAPH.search(word):
            yield from _pairs(word)
        else:
            yield word


def _parts(word: str) -> tuple[str, ...]:
    if word.isalpha() or len(word) <= SHORT_MIXED or word.isdigit():
        return (word,)
    return tuple(_RUNS.findall(word))


def _pairs(word: str) -> Iterator[str]:
    if len(word) < 2:
        yield word
    for start in range(len(word) - 1):
        yield word[start : start + 2]


def terms(text: str) -> list[str]:
    """Stemmed words without stop words."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


# Longest first; the number is how many letters must be left for the ending to come off.
_ENDINGS = (
    ("izations", "iz", 3),
    ("ization", "iz", 3),
    ("ations", "at", 3),
    ("ation", "at", 3),
    ("ements", "", 4),
    ("ement", "", 4),
    ("ments", "", 4),
    ("ment", "", 4),
    ("ings", "", 3),
    ("ing", "", 3),
    ("ions", "", 4),
    ("ion", "", 4),
    ("ies", "y", 2),
    ("ied", "y", 2),
    ("sses", "ss", 2),
    ("shes", "sh", 2),
    ("ches", "ch", 2),
    ("xes", "x", 2),
    ("ers", "er", 3),
    ("ed", "", 3),
    ("ly", "", 4),
)
_KEEP = frozenset(
    {
        "news",
        "status",
        "thing",
        "string",
        "during",
        "bring",
        "address",
        "process",
        "access",
        "speed",
    }
)
_VOWEL = re.compile(r"[aeiouy]")


@lru_cache(maxsize=60_000)
def stem(word: str) -> str:
    """A light stem: plurals, -ing, -ed, -ion and -ment come off, and a silent -e; so `created` meets `creation`."""
    if len(word) < 4 or not word.isascii() or word in _KEEP or not word.isalpha():
        return word
    base = _without_ending(word)
    if base.endswith("e") and len(base) > 3:
        base = base[:-1]
    return base


def _without_ending(word: str) -> str:
    for ending, instead, least in _ENDINGS:
        if word.endswith(ending):
            left = word[: -len(ending)]
            if len(left) >= least and _VOWEL.search(left):
                return _undouble(left + instead) if not instead else left + instead
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _undouble(base: str) -> str:
    if len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsze":
        return base[:-1]
    return base
