"""Why the store will not open a state directory, or will not write a change.

CoordinatorError
├── StateUnusable      state_unusable (at start only; nothing was written)
│   ├── StateDamaged   state_damaged
│   ├── StateTooNew    state_too_new
│   ├── StateReadOnly  state_read_only
│   └── StateNotOpened state_not_opened
└── ChangeRefused      change_refused
    └── KeyTaken       key_taken
"""

from pathlib import Path

from coordinator import errors


class StateUnusable(errors.CoordinatorError):
    """This state directory cannot be opened; nothing in it was changed."""

    code = "state_unusable"


class StateDamaged(StateUnusable):
    """The database is not what we left there."""

    code = "state_damaged"

    def __init__(self, path: Path, found: str, way_out: str) -> None:
        super().__init__(f"{path} is damaged ({found}); {way_out}")
        self.path, self.found = path, found


class StateTooNew(StateUnusable):
    """A newer release wrote the database."""

    code = "state_too_new"

    def __init__(self, path: Path, schema: int, known: int, backup: Path | None) -> None:
        older = f", or restore {backup}" if backup is not None else ""
        super().__init__(
            f"{path} has schema {schema} and this release knows {known}; run the newer release{older}"
        )
        self.path, self.schema, self.known, self.backup = path, schema, known, backup


class StateReadOnly(StateUnusable):
    """We may not write there."""

    code = "state_read_only"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be written ({reason}); give this user the right to, or set `state_dir`"
        )
        self.path, self.reason = path, reason


class StateNotOpened(StateUnusable):
    """The disk is full, broken, or somebody else holds the database's lock."""

    code = "state_not_opened"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be opened ({reason}); free disk space, close other programs that use it"
        )
        self.path, self.reason = path, reason


class ChangeRefused(errors.CoordinatorError):
    """The rows are not in the state that the change starts from; nothing of this call was written."""

    code = "change_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the queue refused a change: {reason}; look at the item again")
        self.reason = reason


class KeyTaken(ChangeRefused):
    """The owner has an item under this idempotency key already."""

    code = "key_taken"

    def __init__(self, key: str) -> None:
        super().__init__(f"idempotency key {key!r} is in use")
        self.key = key
