"""What can go wrong between an agent and a downstream server.

- BrokerError
  - Refused             the policy, the caller's scope or a quarantine says no
  - NeedsConfirmation   a person has to agree first
  - BadArguments        the arguments do not fit the schema; nothing was started
  - ServerUnavailable   the server did not start, or is backing off; nothing was called
  - CallLost            the call was sent and no answer came; it is never sent again
  - CallFailed          the server answered with a protocol error
  - NoSuchSpill         the kept result is gone
"""

from collections.abc import Sequence


class BrokerError(Exception):
    """Anything that the broker reports; `code` is stable."""

    code = "broker_error"


class Refused(BrokerError):
    """The call may not be made."""

    code = "refused"

    def __init__(self, tool_id: str, why: str) -> None:
        super().__init__(f"{tool_id} was not called: {why}")
        self.tool_id, self.why = tool_id, why


class NeedsConfirmation(BrokerError):
    """A person has to agree; the same call with `confirm` set to the token goes through once."""

    code = "confirmation_needed"

    def __init__(self, tool_id: str, why: str, token: str, ttl_s: float) -> None:
        super().__init__(
            f"{tool_id} was not called yet ({why}). Show the user the exact call and ask. "
            f"If they agree, repeat it with confirm={token!r} within {ttl_s / 60:.0f} min."
        )
        self.tool_id, self.token = tool_id, token


class BadArguments(BrokerError):
    """The arguments do not fit the tool's schema."""

    code = "bad_arguments"

    def __init__(self, tool_id: str, problems: Sequence[str], schema: object) -> None:
        super().__init__(f"{tool_id} was not called: {'; '.join(problems)}")
        self.tool_id, self.problems, self.schema = tool_id, tuple(problems), schema


class ServerUnavailable(BrokerError):
    """The server could not be opened; the tool was not called."""

    code = "server_unavailable"

    def __init__(
        self, server: str, why: str, retry_after_s: float = 0.0, log_tail: Sequence[str] = ()
    ) -> None:
        wait = f"; next try in {retry_after_s:.0f} s" if retry_after_s > 0 else ""
        tail = f"; its last lines: {' | '.join(log_tail)}" if log_tail else ""
        super().__init__(f"{server} is not available, nothing was called: {why}{wait}{tail}")
        self.server, self.why = server, why
        self.retry_after_s, self.log_tail = retry_after_s, tuple(log_tail)


class CallLost(BrokerError):
    """The call was sent, and it is not known whether it happened."""

    code = "call_lost"

    def __init__(self, tool_id: str, why: str) -> None:
        super().__init__(
            f"{tool_id} was called but {why}. It may or may not have happened and was not repeated: "
            "look at its effect before you call it again."
        )
        self.tool_id = tool_id


class CallFailed(BrokerError):
    """The server refused the call by a protocol error."""

    code = "call_failed"

    def __init__(self, tool_id: str, message: str) -> None:
        super().__init__(f"{tool_id} answered with an error: {message}")
        self.tool_id = tool_id


class NoSuchSpill(BrokerError):
    """No result is kept under this id."""

    code = "no_such_result"

    def __init__(self, spill_id: str) -> None:
        super().__init__(
            f"no result {spill_id[:80]!r} is kept; results are removed after some days"
        )
