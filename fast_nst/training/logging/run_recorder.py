"""Records a run while it trains: metrics, previews, TensorBoard."""

from __future__ import annotations

import logging

from torch import nn

from fast_nst.config import RunConfig
from fast_nst.errors import InputError, first_line
from fast_nst.report import TaskReport
from fast_nst.training.data.photos import PhotoSource
from fast_nst.training.logging.previews import Previews, PreviewSheet
from fast_nst.training.logging.run_log import RunLog
from fast_nst.training.state.run_folder import RunFolder

__all__ = ["RunRecorder"]

_log = logging.getLogger("fast_nst")


class RunRecorder:
    """Writes the log and the previews of one run; only one process of a run has one.

    Args:
        folder: locked by this process.
        photos: shown in the previews.
        step: steps taken so far; what the log has of later ones is dropped.
        sheet: what the previews show.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        photos: PhotoSource,
        step: int,
        sheet: PreviewSheet,
    ) -> None:
        self.config = config
        side = max(256, config.image_size)
        self._previews = Previews(folder.path / "previews", photos, side, start_over=step == 0, sheet=sheet)
        settings = (folder.path / "config.toml").read_text(encoding="utf-8")
        self._log = RunLog(folder.path, keep_through=step, settings=settings)

    def write(self, report: TaskReport) -> None:
        self._log.write(report)

    def preview(self, network: nn.Module, step: int, *, now: bool = False) -> None:
        """Save a preview if it is due, or `now`."""
        c = self.config
        if not (now or step in Previews.EARLY or step % c.preview_every == 0):
            return
        try:
            sheet, values = self._previews.save(network, step)
        except (OSError, InputError) as error:  # a full disk
            _log.warning("no preview of step %d: %s", step, first_line(error))
            return
        except ValueError:  # NaN has no color; the run is about to be recovered
            return
        self._log.picture("preview", sheet, step)
        self._log.histogram("output values", values, step)

    def close(self) -> None:
        self._log.close()
