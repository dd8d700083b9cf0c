"""Lives of ``train.py``, one after another, each in a process of its own; run by ``test_faults.py``.

A line of JSON on stdin, with the arguments, the folder to run in and the file for what is said, starts a
life; its process's number is answered, and in the end its exit code. All are forked from one process that has
imported everything, which is most of what a start costs.
"""

from __future__ import annotations

import json
import os
import sys

import matplotlib.figure
import torch.utils.tensorboard

from fast_nst.cli import train
from fast_nst.training import trainer

LOADED = (matplotlib.figure, torch.utils.tensorboard, trainer)


def live(arguments: list[str], folder: str, said: str) -> int:
    os.chdir(folder)
    words = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(words, stream)
    return train.main(arguments)


if __name__ == "__main__":
    for order in sys.stdin:
        if not (child := os.fork()):
            os._exit(live(**json.loads(order)))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
