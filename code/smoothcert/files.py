"""Files written whole or not at all, and checksums."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from smoothcert.errors import UnreadableError, UserError
from smoothcert.progress import say

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""How file systems say that they have no locks."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that takes its name on success.

    A reader therefore sees the old file or the new one, never a part of either, and a failure
    leaves nothing behind.
    """
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` as UTF-8 to ``path`` in one step."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as indented JSON to ``path`` in one step."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises FileNotFoundError if there is none, and an UnreadableError if the system cannot read it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Return the parsed JSON file, or raise a UserError that names it."""
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except ValueError as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error


def set_aside(path: Path) -> Path:
    """Rename the file to a name beside it that is free, and return that name."""
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (path.with_name(f"{path.name}.aside{number}") for number in numbers)
    aside = next(name for name in names if not name.exists())
    path.replace(aside)
    return aside


def lock(path: Path) -> TextIO:
    """Return an open file that keeps other processes from what it stands for until it is closed.

    On a file system without locks, as Lustre may be mounted, it says that it keeps nobody. Raises
    UserError, which names the holder, if another process has it.
    """
    try:
        handle = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            say(f"{path.parent} cannot be locked ({error.strerror}): let no other process write it")
        handle.truncate(0)
        print(f"process {os.getpid()} on {os.uname().nodename}", end="", file=handle, flush=True)
    except BlockingIOError as error:
        handle.seek(0)
        raise UserError(f"{path.parent} is being written by {handle.read()}") from error
    except OSError as error:
        raise UserError(f"cannot lock {path}: {error.strerror}") from error
    return handle


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, or raise a UserError that names it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {folder}: {error.strerror}") from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, or raise a UserError that names it."""
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def digest(content: Any) -> str:
    """Return the SHA-256 in hexadecimal of a JSON-like value, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python's parser would take and JSON does not have."""
    raise ValueError(f"{name} is no number")


def _to_disk(path: Path) -> None:
    """Wait until the file is on disk: a rename may otherwise outlive it in a power failure."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
