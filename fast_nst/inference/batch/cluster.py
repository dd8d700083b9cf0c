"""Very many pictures by Ray Data: each actor loads the network once and paints what it is handed.

Only names travel. An actor reads, paints and writes with the code that one process uses, so the pixels and
the errors are the same; Ray starts actors where processors or GPUs are free and hands their share of the work
to others when a machine is lost. Paths must lead to the same files on every machine; addresses, such as
``s3://bucket/photos``, do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.inference.batch.run import Result, paint
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.remote import is_remote
from fast_nst.models.checkpoint import Checkpoint

__all__ = ["stylize_on_cluster"]

# Jobs handed over at once: enough to read one picture while another is painted, and few to do again.
_HANDFUL = 32


def stylize_on_cluster(
    jobs: Sequence[Job],
    checkpoint: Checkpoint,
    config: StylizeConfig,
    *,
    on_start: Callable[[str], None] = lambda words: None,
) -> Iterator[Result]:
    """Every job's result, as they come.

    The cluster is the one at ``RAY_ADDRESS``, or is started on this machine. An actor takes a GPU, or where
    the cluster has none, a processor.

    Args:
        on_start: is told what the cluster has, once it is reached.

    Raises:
        InputError: Ray is not installed, no cluster answers, or a picture comes from stdin or goes to stdout,
            or there is a video.
    """
    if any(STANDARD in (job.source, job.target) for job in jobs):
        raise InputError("a cluster reads and writes files; stdin and stdout need a run without --cluster")
    if any(job.video for job in jobs):
        raise InputError("a cluster paints pictures; videos need a run without --cluster")
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        gpus, processors = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        on_gpu = gpus > 0 and config.device != "cpu"
        actors = max(1, min(gpus if on_gpu else processors, -(-len(jobs) // _HANDFUL)))
        on_start(f"Ray with {processors} processors and {gpus} GPUs, up to {actors} actors")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # what it has to say is for its developers
        rows = [
            {"index": i, "source": _place(job.source), "target": _place(job.target), "fault": job.fault or ""}
            for i, job in enumerate(jobs)
        ]
        painted = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _HANDFUL)).map_batches(
            _Painter,
            fn_constructor_args=(checkpoint, config),
            batch_size=_HANDFUL,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            **({"num_gpus": 1} if on_gpu else {"num_cpus": 1}),
        )
        for row in painted.iter_rows():
            yield Result(job=jobs[row["index"]], **json.loads(row["result"]))
    finally:
        if started:
            ray.shutdown()


class _Painter:
    """An actor: jobs in, what became of them out."""

    def __init__(self, checkpoint: Checkpoint, config: StylizeConfig) -> None:
        self.config = config
        self.stylizer = Stylizer(
            checkpoint, device=config.device, precision=config.precision, backend=config.backend
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        columns = (batch[name] for name in ("source", "target", "fault"))
        jobs = [Job(str(s), str(t), fault=str(f) or None) for s, t, f in zip(*columns, strict=True)]
        results = (r for r in paint(jobs, self.stylizer, self.config) if isinstance(r, Result))
        return {"index": list(batch["index"]), "result": [_plain(result) for result in results]}


def _plain(result: Result) -> str:
    """As text, since a table would make all records alike, with None where one has less than another."""
    names = ("width", "height", "words", "error", "skipped", "ms")
    return json.dumps({name: getattr(result, name) for name in names})


def _place(name: str) -> str:
    """Actors have a current folder of their own."""
    return name if is_remote(name) or not name else os.path.abspath(name)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("--cluster needs Ray: pip install 'fast-nst[cluster]'") from None
    return ray


def _start(ray: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told what is painted here
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what fails for good is raised as well
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # a start that takes too long is of no closer type
        address = os.environ.get("RAY_ADDRESS", "this machine")
        raise InputError(f"no Ray cluster at {address}: {' '.join(str(error).split())}") from None
