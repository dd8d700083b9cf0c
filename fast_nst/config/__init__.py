"""Every tunable, as frozen dataclasses: its help text, its unit and where the number comes from.

One tree gives the command line's flags, the TOML file of a run, the Python API and the checkpoint's metadata.
The text under a field is its help. Nothing here imports torch, so ``--help`` is quick.
"""

from fast_nst.config.film import FilmConfig, LiveConfig
from fast_nst.config.loss import STYLE_LAYERS, LossConfig, LossNetwork
from fast_nst.config.network import PRESETS, NetworkConfig, Preset
from fast_nst.config.stylize import Backend, ExportConfig, Precision, StylizeConfig
from fast_nst.config.train import TrainConfig

__all__ = [
    "PRESETS",
    "STYLE_LAYERS",
    "Backend",
    "ExportConfig",
    "FilmConfig",
    "LiveConfig",
    "LossConfig",
    "LossNetwork",
    "NetworkConfig",
    "Precision",
    "Preset",
    "StylizeConfig",
    "TrainConfig",
]
