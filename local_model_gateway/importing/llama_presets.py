"""llama-server's presets: an INI file with a section for each model, keys as on its command line."""

import configparser

from local_model_gateway.importing.carried import Carried, NotCarried, Section, from_command

_EVERY = "*"
_ROUTERS_OWN = frozenset({"load-on-startup", "stop-timeout", "version"})


def recognises(text: str) -> bool:
    """Whether the file looks like one."""
    parser = _parsed(text)
    return parser is not None and any(
        key in parser[section]
        for section in parser.sections()
        for key in ("model", "m", "hf-repo", "hf")
    )


def read(text: str) -> Carried:
    """Its models as runtimes."""
    carried, parser = Carried(), _parsed(text)
    if parser is None:
        return carried
    shared = dict(parser[_EVERY]) if parser.has_section(_EVERY) else {}
    for name in parser.sections():
        if name == _EVERY:
            continue
        try:
            carried.runtimes[name] = _runtime({**shared, **parser[name]})
        except NotCarried as error:
            carried.left_out.append(f"{name}: {error}")
    return carried


def _runtime(keys: dict[str, str]) -> Section:
    if not {"model", "m"} & keys.keys():
        raise NotCarried("it is fetched from a hub; nothing is downloaded here, so name its file")
    words = ["llama-server"]
    for key, value in keys.items():
        if key in _ROUTERS_OWN:
            continue
        option = key.lower().replace("_", "-").removeprefix("llama-arg-")
        option = f"-{option}" if len(option) <= 3 and option != "fit" else f"--{option}"
        if value.lower() in {"true", "on", ""}:
            words.append(option)
        elif value.lower() not in {"false", "off"}:
            words += [option, value]
    return from_command(words)


def _parsed(text: str) -> configparser.ConfigParser | None:
    parser = configparser.ConfigParser(
        interpolation=None,
        comment_prefixes=("#", ";"),
        inline_comment_prefixes=("#",),
        strict=False,
    )
    try:
        # What stands above the first section is for the router itself.
        parser.read_string("[ ]\n" + text)
    except configparser.Error:
        return None
    parser.remove_section(" ")
    return parser
