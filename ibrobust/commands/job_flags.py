"""The flags that say where jobs run."""

import argparse
import math
from argparse import Namespace
from collections.abc import Callable

from ibrobust.commands.command_line import Parser, count, torch_device
from ibrobust.cpu.allocator import keep_freed_memory
from ibrobust.errors import BadInput
from ibrobust.experiments.jobs import Place, nothing
from ibrobust.registry import EXTENSION_POINTS


def add_job_flags(parser: Parser) -> None:
    """Where jobs run."""
    parser.add_argument("--workers", type=count, default=1, help="processes that share the runs; changes no result")
    parser.add_argument(
        "--engine", default="local", metavar="ENGINE", help=f"where they run: {EXTENSION_POINTS['engine'].choices}"
    )
    parser.add_argument(
        "--gpu-share", type=_share, default=1.0, metavar="SHARE",
        help="of a GPU that a job takes on Ray with --device cuda: 0.5 lets two share one",
    )  # fmt: skip
    parser.add_argument("--address", default=None, help="of a Ray cluster; one is started here by default")


def place_of(options: Namespace, *, begin: Callable[[], None] = nothing) -> Place:
    """Where the flags say that jobs run, and what is done there before the first.

    Raises:
        BadInput: a flag is of no use to the engine, or one GPU is named.
    """
    if options.engine == "local":
        for name, given in (("--address", options.address), ("--gpu-share", options.gpu_share != 1 or None)):
            if given is not None:
                said = options.gpu_share if given is True else repr(given)
                raise BadInput(f"{name} {said}: engine 'local' runs on this machine alone; add --engine ray")
    return Place(options.engine, options.workers, options.address, begin, _gpus(options))


def _gpus(options: Namespace) -> float:
    """The share of a GPU that a job takes where an engine hands them out.

    Raises:
        BadInput: one GPU is named.
    """
    if options.engine == "local":
        return 0.0
    device = torch_device(options.device, None)
    if device.startswith("cuda:"):
        raise BadInput(f"--device {device!r}: engine {options.engine!r} gives each job its GPU; write cuda")
    return options.gpu_share if device == "cuda" else 0.0


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}; a share of a GPU, above 0 and up to 1")
    return share


def share_cores(options: Namespace) -> None:
    """Before a process's first job: `options.threads` CPU threads; without the flag, one if several jobs run at
    a time. The process, which is the command's own, keeps the memory that it frees."""
    keep_freed_memory()
    torch_device(options.device, options.threads or (1 if options.workers > 1 else None))
