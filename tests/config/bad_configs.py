"""Configurations that must be refused, as data: text, where the finger points, and what it says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bad:
    """One planted mistake."""

    name: str
    text: str
    at: str
    """`line:column` that the message must name."""
    says: tuple[str, ...]


BAD = (
    Bad(
        "an unknown key at the top",
        "version: 1\nruntime: {}\n",
        "2:1",
        ("unknown key 'runtime'", "did you mean 'runtimes'"),
    ),
    Bad(
        "an unknown key in a section",
        "server:\n  port: 1\n  prot: 2\n",
        "3:3",
        ("unknown key 'prot' in server", "did you mean 'port'"),
    ),
    Bad(
        "an unknown key in a runtime",
        "runtimes:\n  a:\n    engine: embedded\n    max_concurency: 2\n",
        "4:5",
        ("unknown key 'max_concurency'", "did you mean 'max_concurrency'"),
    ),
    Bad(
        "an unknown key like no other",
        "server:\n  zzzz: 1\n",
        "2:3",
        ("unknown key 'zzzz'", "known here:", "port"),
    ),
    Bad(
        "a port in quotes",
        'server:\n  port: "8787"\n',
        "2:9",
        ("server.port must be a whole number", "remove the quotes"),
    ),
    Bad("a port too high", "server:\n  port: 70000\n", "2:9", ("at most 65535", "70000")),
    Bad("a negative queue", "queue:\n  max_queue: -1\n", "2:14", ("at least 1", "-1")),
    Bad("a list for a section", "server: [1]\n", "1:9", ("server must be a mapping", "a list")),
    Bad("a word for a section", "queue: fast\n", "1:8", ("queue must be a mapping", "'fast'")),
    Bad(
        "a duration without a unit", "queue:\n  max_queue_wait: 10 min\n", "2:19", ("10 min", "10m")
    ),
    Bad(
        "a duration that YAML 1.1 took for minutes",
        "scheduling:\n  max_wait: 5:00\n",
        "2:13",
        ("'5:00'", "scheduling.max_wait"),
    ),
    Bad("a size without a unit", "pool:\n  memory: 92 gigs\n", "2:11", ("92 gigs", "92GiB")),
    Bad(
        "a truth that only YAML 1.1 knows",
        "log:\n  level: on\n",
        "2:10",
        ("log.level must be", "'debug'"),
    ),
    Bad(
        "a word near an allowed one",
        "log:\n  level: warn\n",
        "2:10",
        ("log.level", "did you mean 'warning'"),
    ),
    Bad("a later version", "version: 2\n", "1:10", ("version must be 1, not 2",)),
    Bad("a runtime without an engine", "runtimes:\n  a: {}\n", "2:3", ("runtimes.a", "'engine'")),
    Bad(
        "a key twice",
        "server:\n  port: 1\nserver:\n  port: 2\n",
        "3:1",
        ("'server' is set twice", "line 1"),
    ),
    Bad("a tab", "server:\n\tport: 1\n", "2:1", ("a tab", "spaces")),
    Bad("an open bracket", "server: {port: 1\n", "2:1", ("not valid YAML",)),
    Bad("an open quote", 'server: {host: "127\n', "2:1", ("not valid YAML", "quotes")),
    Bad("two documents", "version: 1\n---\nversion: 1\n", "2:1", ("second document",)),
    Bad("a list as the whole", "- version: 1\n", "1:1", ("a mapping", "version: 1")),
    Bad("a word as the whole", "hello\n", "1:1", ("a mapping",)),
    Bad("a Python object", "server: !!python/object:os.system {}\n", "1:9", ("tag", "remove it")),
    Bad("a tag of its own", "server: !mine {}\n", "1:9", ("!mine", "not allowed")),
    Bad("a merge key", "a: &a {}\nserver:\n  <<: *a\n", "3:3", ("merge keys",)),
    Bad("an unknown alias", "server: *nobody\n", "1:9", ("not valid YAML", "nobody")),
    Bad("a bracketed key", "? [a, b]\n: 1\n", "1:3", ("a key must be a word",)),
    Bad(
        "an environment variable that is not set",
        "state_dir: ${env:NOBODY_SET_THIS}\n",
        "1:12",
        ("NOBODY_SET_THIS is not set", ":-default"),
    ),
    Bad("a reference without a name", "state_dir: ${env:}\n", "1:12", ("no variable name",)),
    Bad(
        "a source nobody knows",
        "state_dir: ${evn:HOME}\n",
        "1:12",
        ("no known source", "did you mean '${env:HOME}'"),
    ),
    Bad(
        "a secret file that is not there",
        "server:\n  keys:\n    me: ${file:/nowhere/key}\n",
        "3:9",
        ("/nowhere/key", "no such file"),
    ),
    Bad("an empty key", 'server:\n  keys:\n    me: ""\n', "3:9", ("'me' is empty",)),
    Bad(
        "an address for everybody without a key",
        "server:\n  host: 0.0.0.0\n",
        "2:9",
        ("other machines", "127.0.0.1", "32"),
    ),
    Bad(
        "an address for everybody with a short key",
        "server:\n  host: '::'\n  keys:\n    me: short\n",
        "2:9",
        ("other machines", "only 5 characters"),
    ),
    Bad("a control character", "version: 1\nserver: \x07\n", "2:1", ("control character",)),
    Bad("brackets without end", "a: " + "[" * 5000, "1:1", ("nested too deep",)),
    Bad("levels without end", "a: " + "[" * 40 + "]" * 40, "1:36", ("nested too deep",)),
    Bad(
        "ten lines that unfold to a billion",
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
        "1:34",
        ("more than 20,000 values", "aliases"),
    ),
    Bad("an alias to itself", "a: &a [*a]\n", "1:4", ("nested too deep",)),
    Bad(
        "an engine that nobody knows",
        "runtimes:\n  a:\n    engine: llama-sever\n    model: x.gguf\n",
        "3:13",
        ("no engine is called 'llama-sever'", "did you mean 'llama-server'"),
    ),
    Bad(
        "an engine without a model",
        "runtimes:\n  a:\n    engine: llama-server\n",
        "2:3",
        ("runtimes.a", "`model`"),
    ),
    Bad(
        "an address for an engine that we start",
        "runtimes:\n  a: {engine: llama-server, model: x.gguf, url: 'http://127.0.0.1:1'}\n",
        "2:3",
        ("`url` has no meaning",),
    ),
    Bad(
        "two models of one name",
        "runtimes:\n  a: {engine: embedded}\n  b:\n    engine: embedded\n    aliases: [c, a]\n",
        "5:18",
        ("'a' is a name of 'a' already", "rename"),
    ),
    Bad(
        "a command as one string",
        "runtimes:\n  a:\n    engine: embedded\n    cmd: rm -rf /\n",
        "4:10",
        ("a list of words",),
    ),
)
