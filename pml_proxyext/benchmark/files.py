"""Files that are there whole or not at all, whoever is interrupted and however full the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file next to ``path``, and put it in the place of ``path``.

    Args:
        path: where the file is to be; its folder is made if need be.
        write: gets the temporary path, which has the suffix of ``path``.

    Raises:
        OSError: if the file cannot be written, with what is to be done; nothing is left behind then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "settings.json"
        >>> write_whole(path, lambda temporary: temporary.write_text("{}"))
        >>> path.read_text()
        '{}'
    """
    temporary = path.with_name(f"{path.stem}.part{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save tells of a full disk by a RuntimeError
        raise OSError(f"cannot write {path}: {error}. Is the disk full, or the folder write-protected?") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
