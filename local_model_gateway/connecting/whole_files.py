"""Files that belong to others: read as they are, and replaced as a whole or not at all."""

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from local_model_gateway import errors, paths


def text(path: Path) -> str | None:
    """Every character as it is, line ends included; None where there is no file."""
    content = read(path)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise errors.RefusedByGateway(
            f"{paths.shown(path)} is not written in UTF-8; nothing was changed"
        ) from None


def read(path: Path) -> bytes | None:
    """The content; None where there is no file."""
    try:
        # Opening a pipe waits for its other end, and a device is never replaced by a file.
        if not stat.S_ISREG(path.stat().st_mode):
            raise errors.RefusedByGateway(
                f"{paths.shown(path)} is not a plain file; nothing was changed"
            )
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.RefusedByGateway(
            f"{paths.shown(path)} cannot be read ({error.strerror}); nothing was changed"
        ) from None


def digest(path: Path) -> str | None:
    """A fingerprint of the content; None where there is no file."""
    content = read(path)
    return None if content is None else hashlib.sha256(content).hexdigest()


def why_not(path: Path) -> str | None:
    """What forbids replacing this file; None if nothing does."""
    target = _real(path)
    if target.exists() and not target.stat().st_mode & stat.S_IWUSR:
        # A rename would get past it, but whoever protects a file means it.
        return f"{paths.shown(path)} is read-only; `chmod u+w` it first, if you want this change"
    if target.exists() and not os.access(target, os.W_OK):
        # A rename would get past this too, and the file would change hands.
        return f"{paths.shown(path)} cannot be written to by you; check who owns it"
    folder = next(one for one in target.parents if one.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return f"{paths.shown(folder)} cannot be written to; check who owns it"
    return None


def missing_folders(path: Path) -> list[Path]:
    """The folders that writing this file would make, outermost first."""
    return [one for one in reversed(_real(path).parents) if not one.exists()]


def replace(path: Path, content: bytes) -> None:
    """The file as a whole, or not at all; its mode, its owner and, through a link, its place stay."""
    target, made = _real(path), None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(prefix=f".{target.name}.lmg-", dir=target.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _like(target, Path(made))
        Path(made).replace(target)
    except OSError as error:
        raise errors.CommandFailed(
            f"{paths.shown(path)} could not be written ({error.strerror}); it is as it was"
        ) from None
    finally:
        if made is not None:  # gone already, unless something went wrong
            Path(made).unlink(missing_ok=True)
    _settle(target.parent)


def remove(path: Path) -> None:
    """Without the file; a link to it stays, as it was before there was one."""
    target = _real(path)
    target.unlink(missing_ok=True)
    _settle(target.parent)


def _like(target: Path, made: Path) -> None:
    """The mode and owner of what it takes the place of."""
    if not target.exists():
        return  # only for its owner: there may be keys in it one day
    old = target.stat()
    with contextlib.suppress(OSError, AttributeError):  # only root may; Windows has no such thing
        os.chown(made, old.st_uid, old.st_gid)
    made.chmod(stat.S_IMODE(old.st_mode))


def _settle(folder: Path) -> None:
    """A rename outlives a power cut only once its folder is on the disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
