"""What a run writes, where, and what happens when it cannot: the run folder, and the checkpoint beside it."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from fast_nst.config import RunConfig
from fast_nst.errors import InputError
from fast_nst.io.files import remove_stale_partials, write_atomically
from fast_nst.serialization import to_toml
from fast_nst.training.state.lock import locked
from fast_nst.training.state.resume import forget_state, places

__all__ = ["RunFolder"]

_log = logging.getLogger("fast_nst")


class RunFolder:
    """The files of one run.

    Attributes:
        path: the folder: state, settings, metrics, previews, TensorBoard events.
        out: the checkpoint.
        state: the file that a run goes on from.
        behind: whether the state could not be written when it was due.
    """

    PAUSES = (2, 4, 8, 16)  # seconds between attempts to write what cannot be put off any longer

    def __init__(self, config: RunConfig) -> None:
        self.out = config.out or Path(f"{config.name}.safetensors")
        self.path = config.run or Path("runs") / config.name
        self.state = self.path / "last.safetensors"
        self.behind = False
        self._told = ""

    def check(self, config: RunConfig) -> None:
        """Refuse to overwrite, and find out now rather than after an hour that nothing can be written.

        Raises:
            InputError: a result is there already, or a folder cannot be written to.
        """
        if self.out.suffix != ".safetensors":
            raise InputError(f"--out must end in .safetensors, got {self.out}")
        if not (config.overwrite or config.resume):
            for path in (self.out, *places(self.state)):
                if path.exists():
                    raise InputError(f"{path} exists; give --overwrite to start anew, or --resume to go on")
        for folder in (self.path, self.out.absolute().parent):
            there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
            if not there.is_dir():
                raise InputError(f"cannot write to the folder {folder}: {there} is a file")
            if not os.access(there, os.W_OK):
                raise InputError(f"cannot write to the folder {folder}: no permission in {there}")

    def held(self) -> AbstractContextManager[None]:
        """Make the folders, and keep other runs out for the time of a ``with`` block."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        return locked(self.path)

    def begin(self, config: RunConfig) -> None:
        """Write config.toml, which makes the run again; for a new run forget the states of an earlier one.

        What a killed run left half written is removed. The folder is to be held.
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
            forget_state(self.state)

    def try_to_save(self, save: Callable[[], None]) -> None:
        """Save the state in the middle of a run: what fails is said and tried again, and the run goes on."""
        try:
            self._save(save)
        except OSError as error:
            self.behind = True
            if self._told != _why(error):  # once an outage, and not with every attempt
                self._told = _why(error)
                _log.warning("the state cannot be saved, the last one is kept, trying again: %s", self._told)
        else:
            self.behind, self._told = False, ""

    def insist(self, save: Callable[[], None]) -> None:
        """Save what there will be no later chance for, waiting a little for a disk to have room again.

        Raises:
            OSError: it still has none; the files are as they were.
        """
        for pause in (*self.PAUSES, None):
            try:
                self._save(save)
            except OSError as error:
                if pause is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    kept = f"{_why(error)}; the last saved state is kept: make room and give --resume"
                    raise OSError(error.errno or errno.EIO, kept, str(self.state)) from error
                _log.warning("cannot save, trying again in %d s: %s", pause, _why(error))
                time.sleep(pause)
            else:
                return

    def _save(self, save: Callable[[], None]) -> None:
        for folder in (self.path, self.out.parent):  # somebody may have removed them
            folder.mkdir(parents=True, exist_ok=True)
        save()


def _why(error: OSError) -> str:
    return error.strerror or str(error)
