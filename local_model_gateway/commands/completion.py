"""`lmg completion`: a script for bash, zsh or fish; names are asked of the running gateway, or of the recipes."""

import argparse
import importlib.util
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from local_model_gateway import cli, client, errors
from local_model_gateway.terminal import Terminal

LIMIT_S = 0.2
"""Whoever presses TAB waits: rather no names than late ones."""

_NAMES = {
    "run": "models",
    "load": "models",
    "unload": "models",
    "connect": "clients",
    "disconnect": "clients",
    "launch": "clients",
    "add": "engines",
}
"""Verbs whose first argument is a name, and of what."""
_SUBVERBS = {
    "queue": "ls cancel priority pause resume",
    "jobs": "ls show cancel",
    "config": "path show validate schema",
    "recipes": "list show",
    "service": "install status uninstall",
    "completion": "bash zsh fish",
    "mcp": "ls search describe diff approve refresh import",
}
_SUBNAMES = {
    ("queue", "cancel"): "queue",
    ("queue", "priority"): "queue",
    ("jobs", "show"): "jobs",
    ("jobs", "cancel"): "jobs",
    ("recipes", "show"): "recipes",
}
_OPTIONS = {"--model": "models", "--source": "models"}
"""Options whose value is a name."""

# Names come from engines: they are compared and quoted, never expanded, as `compgen -W` would do.
_BASH = """\
# lmg completion for bash; add to ~/.bashrc: eval "$(lmg completion bash)"
_lmg_names() {{
  local name
  while IFS= read -r name; do
    [[ "$name" == "$2"* ]] && COMPREPLY+=("$(printf %q "$name")")
  done < <(lmg completion "$1" 2>/dev/null)
}}
_lmg() {{
  COMPREPLY=()
  # bash breaks words at colons, which model names have: put them together again.
  local words=() count=0 each
  for each in "${{COMP_WORDS[@]:0:COMP_CWORD+1}}"; do
    if [ "$count" -gt 1 ] && {{ [[ "$each" == :* ]] || [[ "${{words[count-1]}}" == *: ]]; }}; then
      words[count-1]+="$each"
    else
      words[count]="$each"; count=$((count + 1))
    fi
  done
  local word="${{words[count-1]}}" before="${{words[count-2]}}"
  if [ "$count" -eq 2 ]; then
    COMPREPLY=($(compgen -W "{verbs}" -- "$word")); return
  fi
  case "$before" in
{options}
    *) case "${{words[1]}} $count ${{words[2]}}" in
{names}
{subnames}
{subverbs}
    esac ;;
  esac
  if [[ "$word" == *:* && "$COMP_WORDBREAKS" == *:* ]]; then
    local done_="${{word%"${{word##*:}}"}}"
    COMPREPLY=("${{COMPREPLY[@]#"$done_"}}")
  fi
}}
complete -o default -F _lmg lmg local-model-gateway
"""
_ZSH = """\
#compdef lmg local-model-gateway
# lmg completion for zsh; add to ~/.zshrc: eval "$(lmg completion zsh)"
_lmg_names() {{ compadd -- ${{(f)"$(lmg completion $1 2>/dev/null)"}} }}
_lmg() {{
  if (( CURRENT == 2 )); then
    local -a verbs=({described})
    _describe 'verb' verbs; return
  fi
  case "${{words[CURRENT-1]}}" in
{options}
    *) case "${{words[2]}} $CURRENT ${{words[3]}}" in
{names}
{subnames}
{subverbs}
      *) _files ;;
    esac ;;
  esac
}}
compdef _lmg lmg local-model-gateway
"""
_KINDS = ("models", "clients", "engines", "recipes", "queue", "jobs")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish", *_KINDS), metavar="bash|zsh|fish")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    script = {"bash": bash, "zsh": zsh, "fish": fish}.get(given.shell)
    if script is not None:
        terminal.say(script(), end="")
        return 0
    for name in names(given.shell, given):
        terminal.say(name)
    return 0


def names(kind: str, given: argparse.Namespace) -> list[str]:
    """What there is of this kind; nothing, and nothing said, where nobody answers in time."""
    if kind in _RECIPES:
        return sorted(name for folder in _RECIPES[kind] for name in _recipe_ids(folder))
    found: list[str] = []

    def ask() -> None:
        # A gateway that is down, or another program: no names then.
        try:
            answer = client.find(given).get(_ASKED[kind][0], timeout_s=LIMIT_S)
            found.extend(_ASKED[kind][1](answer))
        except (errors.GatewayError, OSError, LookupError, TypeError):
            return

    # In a thread, since looking up and connecting have limits of their own, which are longer.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(LIMIT_S)
    return [name for name in found if name.isprintable() and " " not in name]


_RECIPES = {
    "clients": ("clients",),
    "engines": ("engines", "models"),
    "recipes": ("clients", "engines", "models", "services"),
}
_ASKED: Mapping[str, tuple[str, Callable[..., Iterable[str]]]] = {
    "models": (
        "/v1/models",
        lambda answer: [
            name
            for one in answer["data"]
            for name in dict.fromkeys([str(one["id"]), *one.get("aliases", ())])
        ],
    ),
    "jobs": ("/v1/jobs", lambda answer: [str(one["id"]) for one in answer["data"]]),
    "queue": (
        "/status",
        lambda answer: [str(one["id"]) for one in (*answer["running"], *answer["queue"])],
    ),
}


def _recipe_ids(folder: str) -> list[str]:
    """A recipe's file is named as it is; reading them all would take longer than TAB may."""
    package = importlib.util.find_spec("recipes")
    places = package.submodule_search_locations if package else None
    return [file.stem for place in places or () for file in Path(place, folder).glob("*.md")]


def _cases(form: str, subverbs: str) -> dict[str, str]:
    """The branches that bash and zsh have in common: they differ in where counting begins."""
    listed = {verb: subverbs.format(words=words) for verb, words in _SUBVERBS.items()}
    return {
        "options": "\n".join(
            f"    {option}) {form.format(kind=kind)} ;;" for option, kind in _OPTIONS.items()
        ),
        "names": "\n".join(
            f'      "{verb} 3 "*) {form.format(kind=kind)} ;;' for verb, kind in _NAMES.items()
        ),
        "subnames": "\n".join(
            f'      "{verb} 4 {word}") {form.format(kind=kind)} ;;'
            for (verb, word), kind in _SUBNAMES.items()
        ),
        "subverbs": "\n".join(f'      "{verb} 3 "*) {does} ;;' for verb, does in listed.items()),
    }


def bash() -> str:
    """A script to evaluate in bash."""
    cases = _cases('_lmg_names {kind} "$word"', 'COMPREPLY=($(compgen -W "{words}" -- "$word"))')
    return _BASH.format(verbs=" ".join(cli.VERBS), **cases)


def zsh() -> str:
    """A script to evaluate in zsh."""
    described = " ".join(f"'{name}:{verb.summary}'" for name, verb in cli.VERBS.items())
    return _ZSH.format(described=described, **_cases("_lmg_names {kind}", "compadd {words}"))


def fish() -> str:
    """A script to source in fish."""
    lines = [
        "# lmg completion for fish; save as ~/.config/fish/completions/lmg.fish",
        "complete -c local-model-gateway -w lmg",
    ]
    for name, verb in cli.VERBS.items():
        lines.append(f"complete -c lmg -n __fish_use_subcommand -f -a {name} -d '{verb.summary}'")
    seen = "__fish_seen_subcommand_from"
    for verb_name, words in _SUBVERBS.items():
        lines.append(
            f"complete -c lmg -n '{seen} {verb_name}; and not {seen} {words}' -f -a '{words}'"
        )
    asked = "(lmg completion {} 2>/dev/null)"
    for verb_name, kind in _NAMES.items():
        lines.append(f"complete -c lmg -n '{seen} {verb_name}' -f -a '{asked.format(kind)}'")
    for (verb_name, word), kind in _SUBNAMES.items():
        condition = f"{seen} {verb_name}; and {seen} {word}"
        lines.append(f"complete -c lmg -n '{condition}' -f -a '{asked.format(kind)}'")
    for option, kind in _OPTIONS.items():
        lines.append(f"complete -c lmg -l {option[2:]} -x -a '{asked.format(kind)}'")
    return "\n".join(lines) + "\n"
