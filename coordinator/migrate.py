"""Bringing a database to the schema that this release knows: in order, backed up before, whole or not at all."""

import importlib.resources
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread

from coordinator import connection, failpoints, refusals

BACKUPS_KEPT = 2


@dataclass(frozen=True, slots=True)
class Migration:
    """One step; `version` is the `user_version` after it."""

    version: int
    name: str
    sql: str


def known() -> tuple[Migration, ...]:
    """All steps of this release, in order. `0002_name.sql` leads to version 2."""
    folder = importlib.resources.files("coordinator") / "migrations"
    found = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    return tuple(
        Migration(int(entry.name.partition("_")[0]), entry.name, entry.read_text(encoding="utf-8"))
        for entry in found
    )


async def migrate(database: connection.Database, path: Path, steps: tuple[Migration, ...]) -> None:
    """Apply the steps that are missing. An interrupted step leaves the version before it, whole."""
    version = int(await database.value("PRAGMA user_version"))
    missing = [step for step in steps if step.version > version]
    if version > 0 and missing:
        await _back_up(database, path, version)
    for step in missing:
        failpoints.reach("migrate_before_step")
        try:
            await database.script(
                f"BEGIN IMMEDIATE;\n{step.sql}\nPRAGMA user_version = {step.version};\nCOMMIT;"
            )
        except sqlite3.Error:
            await database.rollback()
            raise
        failpoints.reach("migrate_after_step")


async def refuse_newer(
    database: connection.Database, path: Path, steps: tuple[Migration, ...]
) -> None:
    """Raise `StateTooNew` for a schema of a release to come: we would not understand what it means."""
    version, newest = int(await database.value("PRAGMA user_version")), steps[-1].version
    if version > newest:
        backup = backup_path(path, newest)
        there = await to_thread.run_sync(backup.exists)
        raise refusals.StateTooNew(path, version, newest, backup if there else None)


def backup_path(path: Path, version: int) -> Path:
    """Where the last database of this schema was put before it was migrated."""
    return path.with_name(f"{path.name}.schema-{version}")


async def _back_up(database: connection.Database, path: Path, version: int) -> None:
    unfinished = path.with_name(f"{path.name}.backup-unfinished")
    await to_thread.run_sync(_create_empty, unfinished)
    async with connection.connect(unfinished, "rw") as target:
        await database.backup_to(target)
    failpoints.reach("migrate_before_backup_named")
    await to_thread.run_sync(_keep_backup, unfinished, backup_path(path, version))


def _create_empty(unfinished: Path) -> None:
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _keep_backup(unfinished: Path, backup: Path) -> None:
    unfinished.replace(backup)
    backups = sorted(backup.parent.glob(f"{backup.stem}.schema-*"), key=_version_of)
    for old in backups[:-BACKUPS_KEPT]:
        old.unlink()


def _version_of(backup: Path) -> int:
    number = backup.suffix.removeprefix(".schema-")
    return int(number) if number.isdigit() else -1
