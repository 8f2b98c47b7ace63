"""The choice of a model, as a pure ranking."""

from dataclasses import dataclass, replace

from mcp_server.recommend import Want, reasons, recommend

GIB = 2**30


@dataclass(frozen=True)
class Runtime:
    """A runtime as a snapshot shows it."""

    name: str
    state: str = "stopped"
    slots: int = 1
    running: int = 0
    queued: int = 0
    context_tokens: int | None = 32_768
    footprint_bytes: int | None = 8 * GIB
    pinned: bool = False
    notice: str | None = None
    usual_load_s: float | None = 10.0
    retry_in_s: float | None = None
    capabilities: tuple[str, ...] = ("chat",)

    @property
    def aliases(self) -> tuple[str, ...]:
        return (self.name,)


SMALL = Runtime("small")
LARGE = Runtime("large", footprint_bytes=60 * GIB, usual_load_s=90.0)


def test_what_is_loaded_and_free_comes_first_for_the_impatient() -> None:
    advice = recommend([LARGE, replace(SMALL, state="ready")], 64 * GIB, Want())
    assert advice.best is not None
    assert advice.best.runtime.name == "small"
    assert advice.best.wait_s == 0


def test_patience_buys_the_larger_model() -> None:
    advice = recommend([LARGE, replace(SMALL, state="ready")], 128 * GIB, Want(max_wait_s=300))
    assert advice.best is not None
    assert advice.best.runtime.name == "large"


def test_patience_that_is_too_short_does_not() -> None:
    advice = recommend([LARGE, replace(SMALL, state="ready")], 128 * GIB, Want(max_wait_s=30))
    assert advice.best is not None
    assert advice.best.runtime.name == "small"


def test_what_cuts_nobody_off_goes_before_what_does() -> None:
    busy = replace(SMALL, name="busy", state="ready", running=1)
    other = replace(SMALL, name="other", footprint_bytes=50 * GIB)
    advice = recommend([busy, LARGE, other], 64 * GIB, Want(max_wait_s=600))
    assert advice.best is not None
    assert advice.best.runtime.name == "other"
    large = next(one for one in advice.others if one.runtime.name == "large")
    assert large.unloads == ("busy",)
    assert large.displaced == 1
    assert any("would unload busy, after 1" in said for said in reasons(large, Want()))


def test_a_model_that_is_too_small_or_cannot_do_it_says_so() -> None:
    eyes = replace(SMALL, name="eyes", capabilities=("chat", "vision"))
    short = replace(eyes, name="short", context_tokens=4096)
    failed = replace(eyes, name="failed", retry_in_s=40.0)
    want = Want(prompt_tokens=9000, needs=("vision",))
    advice = recommend([SMALL, short, failed, eyes], None, want)
    assert advice.best is not None
    assert advice.best.runtime.name == "eyes"
    unfit = dict(advice.unfit)
    assert "cannot do vision" in unfit["small"]
    assert "10024" in unfit["short"]
    assert "40 s" in unfit["failed"]


def test_a_toy_is_the_last_choice() -> None:
    toy = replace(SMALL, name="toy", state="ready", notice="talks nonsense, on purpose")
    advice = recommend([toy, LARGE], None, Want())
    assert advice.best is not None
    assert advice.best.runtime.name == "large"


def test_nothing_that_fits_is_an_answer_too() -> None:
    advice = recommend([SMALL], None, Want(needs=("embeddings",)))
    assert advice.best is None
    assert advice.unfit == (("small", "cannot do embeddings"),)


def test_where_sizes_are_unknown_everything_but_the_pinned_may_have_to_leave() -> None:
    unknown = replace(LARGE, footprint_bytes=None)
    here = replace(SMALL, state="ready")
    pinned = replace(SMALL, name="pinned", state="ready", pinned=True)
    advice = recommend([unknown, here, pinned], None, Want(needs=("chat",)))
    large = next(one for one in advice.others if one.runtime.name == "large")
    assert large.unloads == ("small",)
