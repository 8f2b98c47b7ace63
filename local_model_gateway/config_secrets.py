"""Which of a runtime's plainly written settings are secrets, going by the names they stand behind."""

import re
from collections.abc import Iterator, Sequence

from runtimes.settings import RuntimeSettings

_NAME = re.compile(r"key|token|secret|passw|passphrase|auth|cookie|credential", re.IGNORECASE)
_PLURAL = re.compile(r"tokens|keys", re.IGNORECASE)  # `--max-tokens 512` is none


def of_runtime(runtime: RuntimeSettings) -> set[str]:
    """Values that belong into no log and no answer."""
    found = {value for name, value in runtime.env.items() if _secretive(name)}
    if runtime.api_key is not None:
        found.add(runtime.api_key.get_secret_value())
    for words in (
        runtime.args,
        runtime.cmd,
        runtime.start_cmd,
        runtime.stop_cmd,
        runtime.status_cmd,
    ):
        found.update(_behind_options(words or ()))
    return found


def _behind_options(words: Sequence[str]) -> Iterator[str]:
    """The values of `--api-key X` and `--api-key=X`."""
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.startswith("-") or not _secretive(name):
            continue
        if equals:
            yield value
        elif number + 1 < len(words) and not words[number + 1].startswith("-"):
            yield words[number + 1]


def _secretive(name: str) -> bool:
    return _NAME.search(name) is not None and _PLURAL.search(name) is None
