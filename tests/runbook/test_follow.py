"""Whoever follows the runbook stops at the first difference, says where, and leaves nothing behind."""

from pathlib import Path

import psutil
import pytest

from tests.runbook import follow, page

STEP = "## 1. Step\n\n```sh\n{script}\n```\n{comments}\n"


def book(*steps: tuple[str, str], leaves: str = "") -> page.Runbook:
    text = "".join(STEP.format(script=script, comments=comments) for script, comments in steps)
    return page.read(text + leaves)


def test_blocks_run_in_order_and_twice_each_from_the_checkout(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")

    follow.follow(book(("pwd >> $HOME/trace", ""), leaves="<!-- leaves: ~/trace -->\n"), where)

    assert (where.home / "trace").read_text().splitlines() == [str(where.checkout)] * 2


def test_the_first_difference_names_its_block_and_ends_the_walk(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")
    steps = book(
        ("""echo '{"status": "fail"}'""", "<!-- expect: status = ok -->"), ("touch $HOME/on", "")
    )

    with pytest.raises(follow.Differs, match=r"1\. Step, line 3: echo .*\n.*it is 'fail'"):
        follow.follow(steps, where)

    assert not (where.home / "on").exists()


def test_a_process_that_outlives_the_page_is_named_and_ended(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")
    steps = book(
        ("sleep 600 >/dev/null 2>&1 & echo $! > $HOME/pid", ""), leaves="<!-- leaves: ~/pid -->\n"
    )

    with pytest.raises(follow.Differs, match=r"still ran: .*sleep 600"):
        follow.follow(steps, where)

    assert not psutil.pid_exists(int((where.home / "pid").read_text()))


def test_a_process_is_ended_also_where_a_block_fails(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")
    steps = book(("sleep 600 >/dev/null 2>&1 & echo $! > $HOME/pid; exit 3", ""))

    with pytest.raises(follow.Differs, match="exit = 0: it is 3"):
        follow.follow(steps, where)

    assert not psutil.pid_exists(int((where.home / "pid").read_text()))


def test_a_file_that_the_page_does_not_name_is_a_difference(tmp_path: Path) -> None:
    where = follow.place(tmp_path / "a place")
    leaves = "<!-- leaves: ~/kept -->\n"

    follow.follow(book(("mkdir -p $HOME/kept; touch $HOME/kept/a", ""), leaves=leaves), where)
    with pytest.raises(follow.Differs, match="stray"):
        follow.follow(book(("touch $TMPDIR/stray", ""), leaves=leaves), where)


def test_a_block_sees_nothing_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMG_CONFIG", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    where = follow.place(tmp_path / "a place")

    assert not {"LMG_CONFIG", "PYTHONPATH", "VIRTUAL_ENV"} & set(where.env)
    assert str(follow.ROOT) not in where.env["PATH"]
