"""What a person reads: aligned on a terminal, whole on a narrow one; and the plan, in an order that helps."""

import re
from pathlib import Path

import pytest

from local_model_gateway.doctor import plan, report
from local_model_gateway.doctor.finding import Finding, fail, mend, note, ok, show, skip
from local_model_gateway.terminal import Terminal
from tests.cli import pseudo_terminal
from tests.doctor import cases

FOUND = [
    ok("INSTALL", "Install", "local-model-gateway 0.1.0, Python 3.12"),
    note("CONFIG-NONE", "Config", "none", "It says one sentence.", mend("lmg init --user")),
    fail(
        "GPU-BYPASS",
        "Bypass",
        "llama-server, pid 3380 on :8080, holds 41.2 GiB outside the queue",
        "Its memory is missing when the gateway loads a model.",
        mend("lmg adopt 3380"),
    ),
    note("GATEWAY-SILENT", "Gateway", "it hangs", "", show("lmg logs")),
    skip("ENGINES", "Engines", "not asked for"),
]
PLAIN = Terminal(no_color=True)


def said(width: int, found: list[Finding] | None = None) -> list[str]:
    return report.findings(FOUND if found is None else found, PLAIN, width).splitlines()


def test_ids_stand_in_one_column_and_what_to_run_below() -> None:
    assert said(100) == [
        "✓ Install   local-model-gateway 0.1.0, Python 3.12",
        "! Config    none                                                                CONFIG-NONE",
        "            It says one sentence.",
        "            fix  lmg init --user",
        "✗ Bypass    llama-server, pid 3380 on :8080, holds 41.2 GiB outside the queue   GPU-BYPASS",
        "            Its memory is missing when the gateway loads a model.",
        "            fix  lmg adopt 3380   (ask first)",
        "! Gateway   it hangs                                                            GATEWAY-SILENT",
        "            see  lmg logs",
        "- Engines   not asked for",
        "1 problem, 2 notes. Nothing was changed. Steps in order: lmg doctor --fix-plan",
    ]


@pytest.mark.parametrize("width", [40, 52, 64, 80, 93, 94, 95])
def test_on_a_narrow_terminal_nothing_is_cut_and_only_commands_are_longer_than_a_line(
    width: int,
) -> None:
    lines = said(width)[:-1]
    text = " ".join(" ".join(lines).split())
    for finding in FOUND:
        assert finding.what in text
        assert finding.why in text
        assert finding.fix is None or finding.fix.command in text
        assert (finding.id in text) is (finding.status in {"note", "fail"})
    assert all(len(line) <= width for line in lines if not re.match(r" +(fix|see) ", line))


def test_a_machine_without_a_blemish_is_told_so() -> None:
    assert said(80, FOUND[:1])[-1] == "All is well. Nothing was changed."


def test_the_plan_puts_first_what_the_rest_stands_on_and_runs_nothing_twice() -> None:
    restart = mend("lmg down && lmg up")
    steps = plan.steps(
        [
            note("GATEWAY-DOWN", "Gateway", "d", "", mend("lmg up")),
            note("CLIENT-BYPASS", "Clients", "c", "", mend("lmg connect codex --yes")),
            note("VERSION-DIFFERS", "Gateway", "v", "", restart),
            note("CONFIG-RESTART", "Gateway", "r", "", restart),
            fail("KEY-FILE-OPEN", "Keys", "k", "", mend("chmod 600 k")),
            note("PATH-MISSING", "Install", "p", "", mend("export PATH=x")),
            fail("DISK-FULL", "State", "f", "", show("df -h")),
            ok("GPU", "GPU", "g"),
            note("GPU-BYPASS", "Bypass", "without a fix", ""),
        ]
    )
    assert [(step.command, [one.id for one in step.findings]) for step in steps] == [
        ("export PATH=x", ["PATH-MISSING"]),
        ("chmod 600 k", ["KEY-FILE-OPEN"]),
        ("df -h", ["DISK-FULL"]),
        ("lmg down && lmg up", ["CONFIG-RESTART", "VERSION-DIFFERS"]),
        ("lmg up", ["GATEWAY-DOWN"]),
        ("lmg connect codex --yes", ["CLIENT-BYPASS"]),
    ]
    assert [step.needs_consent for step in steps] == [False, False, False, True, False, True]
    assert [step.mends for step in steps] == [True, True, False, True, True, True]


def test_the_plan_says_what_each_step_is_for() -> None:
    assert report.plan(plan.steps(FOUND), PLAIN).splitlines() == [
        "1. none   CONFIG-NONE",
        "   lmg init --user",
        "2. llama-server, pid 3380 on :8080, holds 41.2 GiB outside the queue   GPU-BYPASS   ask first",
        "   lmg adopt 3380",
        "3. it hangs   GATEWAY-SILENT   shows the way",
        "   lmg logs",
    ]
    assert report.plan([], PLAIN) == "nothing to do"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[mK]|\r", "", text)


async def test_on_a_terminal_marks_are_coloured_ids_are_dim_and_lines_fit(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    words = ("doctor", "--quick")
    wide = await pseudo_terminal.lmg(home.shell, *words, COLUMNS="120")
    assert "\x1b[32m✓\x1b[0m Install   local-model-gateway" in wide.out
    assert "\x1b[33m!\x1b[0m Config    none: the built-in model is served" in wide.out
    assert "\x1b[2mCONFIG-NONE\x1b[0m" in wide.out
    shown = plain(wide.out)
    assert re.search(r"\n            fix  lmg init --user\n", shown)
    assert "Nothing was changed. Steps in order: lmg doctor --fix-plan" in shown
    narrow = plain((await pseudo_terminal.lmg(home.shell, *words, COLUMNS="48")).out)
    whats = [line for line in narrow.splitlines() if line[:2] in {"✓ ", "! ", "✗ "}]
    assert whats
    assert max(map(len, whats)) <= 48


async def test_the_plan_is_the_same_on_a_terminal_and_for_a_program(tmp_path: Path) -> None:
    home = cases.home(tmp_path)
    (home.folder / "key").write_text("k" * 40)
    (home.folder / "key").chmod(0o644)
    home.write(server={"port": 0, "keys": {"me": "${file:key}"}})
    words = ("doctor", "--quick", "--fix-plan", "--config", str(home.config))
    steps = (await home.doctor("--quick")).json["fix_plan"]
    shown = plain((await pseudo_terminal.lmg(home.shell, *words)).out)
    # Other gateways on this machine come and go; what is our own does not.
    ours = [step for step in steps if step["ids"] != ["SIBLING-GATEWAY"]]
    assert [step["ids"] for step in ours] == [["KEY-FILE-OPEN"], ["GATEWAY-DOWN"]]
    places = [shown.index(f"   {step['command']}\n") for step in ours]
    assert places == sorted(places)
    assert all(set(step) == {"command", "ids", "what", "mends", "needs_consent"} for step in ours)


async def test_without_colour_nothing_but_words_reaches_a_pipe(tmp_path: Path) -> None:
    ran = await cases.home(tmp_path).shell.lmg("doctor", "--quick")
    assert "\x1b" not in ran.out
    assert ran.err == ""
