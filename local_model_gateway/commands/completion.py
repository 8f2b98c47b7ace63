"""`lmg completion`: a script for bash, zsh or fish; models are asked of the running gateway."""

import argparse

from local_model_gateway import cli
from local_model_gateway.terminal import Terminal

_WITH_MODEL = ("run", "load", "unload")
_SUBVERBS = {
    "queue": "ls cancel priority pause resume",
    "jobs": "ls show cancel",
    "config": "path show validate schema",
    "recipes": "list show",
    "service": "install status uninstall",
    "completion": "bash zsh fish",
    "mcp": "ls search describe diff approve refresh import",
}

_BASH = """\
# lmg completion for bash; add to ~/.bashrc: eval "$(lmg completion bash)"
_lmg() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" verb="${{COMP_WORDS[1]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{verbs}" -- "$word")); return
  fi
  case "$verb" in
{cases}
    {with_model}) COMPREPLY=($(compgen -W "$(lmg completion models 2>/dev/null)" -- "$word")) ;;
  esac
}}
complete -o default -F _lmg lmg local-model-gateway
"""
_ZSH = """\
#compdef lmg local-model-gateway
# lmg completion for zsh; add to ~/.zshrc: eval "$(lmg completion zsh)"
_lmg() {{
  if (( CURRENT == 2 )); then
    local -a verbs=({described})
    _describe 'verb' verbs; return
  fi
  case "${{words[2]}}" in
{cases}
    {with_model}) compadd -- ${{(f)"$(lmg completion models 2>/dev/null)"}} ;;
    *) _files ;;
  esac
}}
compdef _lmg lmg local-model-gateway
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "models"), metavar="bash|zsh|fish")


def run(given: argparse.Namespace, terminal: Terminal) -> int:
    if given.shell == "models":
        from local_model_gateway import client

        models = client.find(given).get("/v1/models", timeout_s=0.2)["data"]
        terminal.say("\n".join(str(model["id"]) for model in models))
        return 0
    terminal.say({"bash": bash, "zsh": zsh, "fish": fish}[given.shell](), end="")
    return 0


def bash() -> str:
    """A script to evaluate in bash."""
    cases = "\n".join(
        f'    {verb}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;'
        for verb, words in _SUBVERBS.items()
    )
    return _BASH.format(verbs=" ".join(cli.VERBS), cases=cases, with_model="|".join(_WITH_MODEL))


def zsh() -> str:
    """A script to evaluate in zsh."""
    described = " ".join(f"'{name}:{verb.summary}'" for name, verb in cli.VERBS.items())
    cases = "\n".join(f"    {verb}) compadd {words} ;;" for verb, words in _SUBVERBS.items())
    return _ZSH.format(described=described, cases=cases, with_model="|".join(_WITH_MODEL))


def fish() -> str:
    """A script to source in fish."""
    lines = ["# lmg completion for fish; save as ~/.config/fish/completions/lmg.fish"]
    for name, verb in cli.VERBS.items():
        lines.append(f"complete -c lmg -n __fish_use_subcommand -f -a {name} -d '{verb.summary}'")
    for verb_name, words in _SUBVERBS.items():
        lines.append(
            f"complete -c lmg -n '__fish_seen_subcommand_from {verb_name}' -f -a '{words}'"
        )
    seen = " ".join(_WITH_MODEL)
    lines.append(
        f"complete -c lmg -n '__fish_seen_subcommand_from {seen}' -f "
        "-a '(lmg completion models 2>/dev/null)'"
    )
    return "\n".join(lines) + "\n"
