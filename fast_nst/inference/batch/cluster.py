"""Very many pictures with Ray Data: each actor loads the network once and runs the jobs it gets.

Only names travel. An actor reads, stylizes and writes with the code that one process uses, so the pixels and
the errors are the same; Ray starts actors where processors or GPUs are free and gives their share of the work
to others when a machine is lost. Paths must lead to the same files on every machine; addresses, such as
``s3://bucket/photos``, do.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fast_nst.config import StylizeConfig
from fast_nst.errors import InputError, first_line
from fast_nst.inference.batch.jobs import STANDARD, Job
from fast_nst.inference.batch.results import Result
from fast_nst.inference.batch.run import run_jobs
from fast_nst.inference.layers import memory_of, open_controls
from fast_nst.inference.stylizer import Stylizer
from fast_nst.io.remote import is_remote
from fast_nst.models.checkpoint import Checkpoint, GalleryCheckpoint
from fast_nst.system.extras import how_to_install

__all__ = ["stylize_on_cluster"]

# Jobs sent to an actor at once: enough to read one picture while another is stylized, and few to do again.
_JOBS_AT_ONCE = 32
_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_DISABLE_METRICS_COLLECTION": "1"}
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no reports to Ray's developers
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what fails for good is raised as well
}


def stylize_on_cluster(
    jobs: Sequence[Job],
    checkpoint: Checkpoint | GalleryCheckpoint,
    config: StylizeConfig,
    *,
    weights: Mapping[str, float] | None = None,
    on_start: Callable[[str], None] = lambda resources: None,
) -> Iterator[Result]:
    """Every job's result, as they come.

    The cluster is the one at ``RAY_ADDRESS``, or is started on this machine. An actor takes a GPU, or where
    the cluster has none, a processor, and keeps to the memory limit of the config.

    Args:
        weights: of a gallery: the styles and their weights.
        on_start: called with what the cluster has, once it is reached.

    Raises:
        InputError: Ray is not installed, no cluster answers, or a picture comes from stdin or goes to stdout,
            or there is a video.
    """
    if any(STANDARD in (job.source, job.target) for job in jobs):
        raise InputError("a cluster reads and writes files; stdin and stdout need a run without --cluster")
    if any(job.video for job in jobs):
        raise InputError("a cluster takes pictures; videos need a run without --cluster")
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        gpus, processors = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        on_gpu = gpus > 0 and config.device != "cpu"
        actors = max(1, min(gpus if on_gpu else processors, -(-len(jobs) // _JOBS_AT_ONCE)))
        on_start(f"Ray with {processors} processors and {gpus} GPUs, up to {actors} actors")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # what it has to say is for its developers
        rows = [
            {"index": i, "source": _place(job.source), "target": _place(job.target), "error": job.error or ""}
            for i, job in enumerate(jobs)
        ]
        results = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _JOBS_AT_ONCE)).map_batches(
            _Actor,
            fn_constructor_args=(checkpoint, config, weights),
            batch_size=_JOBS_AT_ONCE,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            **({"num_gpus": 1} if on_gpu else {"num_cpus": 1}),
        )
        yield from _collect(results.iter_rows(), jobs)
    finally:
        if started:
            ray.shutdown()


def _collect(rows: Iterator[dict[str, Any]], jobs: Sequence[Job]) -> Iterator[Result]:
    """The results in the rows; when the cluster fails, the jobs without one have failed."""
    missing = dict(enumerate(jobs))
    try:
        for row in rows:
            yield Result(job=missing.pop(row["index"]), **json.loads(row["result"]))
    except Exception as error:  # Ray's errors have many types
        for job in missing.values():
            yield Result(job, error=f"{job.source}: the cluster failed ({first_line(error)})")


class _Actor:
    """A process of the cluster: jobs in, their results out."""

    def __init__(
        self,
        checkpoint: Checkpoint | GalleryCheckpoint,
        config: StylizeConfig,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.config = config
        self.stylizer = Stylizer(
            checkpoint,
            device=config.device,
            precision=config.precision,
            backend=config.backend,
            memory=memory_of(config),
            controls=open_controls(config),
            weights=weights,
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        columns = (batch[name] for name in ("source", "target", "error"))
        jobs = [Job(str(s), str(t), error=str(e) or None) for s, t, e in zip(*columns, strict=True)]
        results = (r for r in run_jobs(jobs, self.stylizer, self.config) if isinstance(r, Result))
        return {"index": list(batch["index"]), "result": [_plain(result) for result in results]}


def _plain(result: Result) -> str:
    """As text, since a table would make all records alike, with None where one has less than another."""
    names = ("width", "height", "notes", "error", "traceback", "skipped", "ms")
    return json.dumps({name: getattr(result, name) for name in names})


def _place(name: str) -> str:
    """Actors have a current folder of their own."""
    return name if is_remote(name) or not name else os.path.abspath(name)


def _ray() -> Any:
    """Ray, imported with authentication, which it reads on import.

    Ray's services listen on every address, and whoever reaches them can run code. So those that are started
    for one machine ask for a token that only this process and its children know (Ray 2.52 and later).
    """
    if not os.environ.get("RAY_ADDRESS") and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError(f"--cluster needs Ray: {how_to_install('cluster')}") from None
    return ray


def _start(ray: Any) -> None:
    """Join the cluster at ``RAY_ADDRESS``, or start one on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    options = {} if address else {"include_dashboard": False}
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **options)
    except Exception as error:  # a start that takes too long is of no closer type
        raise InputError(
            f"no Ray cluster at {address or 'this machine'}: {' '.join(str(error).split())}"
        ) from None
