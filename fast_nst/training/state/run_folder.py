"""The files of a run: what it writes, where, and what happens when it cannot."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from fast_nst.config import RunConfig
from fast_nst.errors import InputError
from fast_nst.io.files import remove_stale_partials, write_atomically
from fast_nst.serialization import to_toml
from fast_nst.training.state.lock import locked
from fast_nst.training.state.resume import remove_states, state_paths

__all__ = ["RunFolder"]

_log = logging.getLogger("fast_nst")


class RunFolder:
    """The files of one run.

    Args:
        config: names the files.
        pauses: seconds between attempts to write what cannot be put off any longer.

    Attributes:
        path: the folder: state, settings, metrics, previews, TensorBoard events.
        out: the checkpoint.
        state: the file that a run is resumed from.
        behind: whether the state could not be written when it was due.
    """

    PAUSES = (2, 4, 8, 16)

    def __init__(self, config: RunConfig, *, pauses: Sequence[float] = PAUSES) -> None:
        self._pauses = pauses
        self.out = config.out or Path(f"{config.name}.safetensors")
        self.path = config.run or Path("runs") / config.name
        self.state = self.path / "last.safetensors"
        self.behind = False
        self._warned = ""

    def check(self, config: RunConfig) -> bool:
        """Refuse to overwrite, and to start a run whose results cannot be written.

        Returns:
            Whether there is a state to resume from, and the config says so.

        Raises:
            InputError: a result is there already, or a folder cannot be written to.
        """
        resuming = bool(config.resume) and any(path.exists() for path in state_paths(self.state))
        if config.resume == "must" and not resuming:
            raise InputError(
                f"--resume must: there is no state in {self.path} to resume from; "
                "--resume alone starts over then"
            )
        if self.out.suffix != ".safetensors":
            raise InputError(f"--out must end in .safetensors, got {self.out}")
        if not (config.overwrite or resuming):
            for path in (self.out, *state_paths(self.state)):
                if path.exists():
                    raise InputError(f"{path} exists; {self._cure(config)}")
        for folder in (self.path, self.out.absolute().parent):
            there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            if not there.is_dir():
                raise InputError(f"cannot write to the folder {folder}: {there} is a file")
            if not os.access(there, os.W_OK):
                raise InputError(f"cannot write to the folder {folder}: no permission in {there}")
        return resuming

    def _cure(self, config: RunConfig) -> str:
        if config.resume:
            return f"there is no state in {self.path} to resume from: give --overwrite to start over"
        return "give --overwrite to start over, or --resume to resume"

    def lock(self) -> AbstractContextManager[None]:
        """Make the folders, and lock out other runs during a ``with`` block."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        return locked(self.path)

    def begin(self, config: RunConfig) -> None:
        """Write config.toml, which reproduces the run; for a new run remove the states of an earlier one.

        Partial files of a killed run are removed. The folder must be locked.
        """
        remove_stale_partials([self.path, self.out.parent])
        settings = to_toml(replace(config, resume=False, overwrite=False))
        try:
            write_atomically(self.path / "config.toml", settings.encode())
        except OSError as error:
            if not config.resume:
                raise
            _log.warning("config.toml cannot be written: %s", _why(error))
        if not config.resume:
            remove_states(self.state)

    def try_to_save(self, save: Callable[[], None]) -> None:
        """Save the state during a run; a failure costs a warning, and is tried again later."""
        try:
            self._save(save)
        except OSError as error:
            self.behind = True
            if self._warned != _why(error):  # once an outage, and not with every attempt
                self._warned = _why(error)
                _log.warning(
                    "the state cannot be saved, keeping the last one, trying again: %s", self._warned
                )
        else:
            self.behind, self._warned = False, ""

    def save_with_retries(self, save: Callable[[], None]) -> None:
        """Save at the end of a run, waiting a little for a full disk to have room again.

        Raises:
            OSError: it still has none; the files are as they were.
        """
        for pause in (*self._pauses, None):
            try:
                self._save(save)
            except OSError as error:
                if pause is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    kept = f"{_why(error)}; the last saved state is kept: make room and give --resume"
                    raise OSError(error.errno or errno.EIO, kept, str(self.state)) from error
                _log.warning("cannot save, trying again in %g s: %s", pause, _why(error))
                time.sleep(pause)
            else:
                return

    def _save(self, save: Callable[[], None]) -> None:
        for folder in (self.path, self.out.parent):  # somebody may have removed them
            folder.mkdir(parents=True, exist_ok=True)
        save()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
