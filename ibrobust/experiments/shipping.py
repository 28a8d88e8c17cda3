"""Jobs for machines that share no folder with this one: what a job would read from files there is sent with it.

Weights of a run travel as bytes, a model of one's own as the object that it is, with the classes and functions of its
own files, and plugins as their files. Whatever is installed as a package has to be installed on every machine.
"""

import io
import pickle
import sys
import tempfile
from collections import ChainMap
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.jit._script import RecursiveScriptModule

from ibrobust.errors import BadInput
from ibrobust.experiments.jobs import Job, Workload
from ibrobust.experiments.subject import TheirModel
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.plugins import Plugin, load_the_same, loaded_plugins
from ibrobust.python_files import files_of, said
from ibrobust.subjects.formats.python import module_name
from ibrobust.subjects.zoo import Card, Run, trained_model


def shipped(work: Workload) -> bytes:
    """The job of a workload, for `unloaded` on another machine.

    Raises:
        BadInput: a model cannot be sent.
    """
    from ray import cloudpickle

    own: list[ModuleType] = []

    def reduced(made: TheirModel) -> tuple[Any, ...]:
        for module in _own_modules(made.module):
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
            own.append(module)
        return _Whole, (made.module,)

    ways = {Run: _run_reduced, TheirModel: reduced, RecursiveScriptModule: _script_reduced}
    reducers: ChainMap[type, Any] = ChainMap(ways, cloudpickle.Pickler.dispatch_table)
    buffer = io.BytesIO()
    try:
        # A pickler takes its table from its class.
        type("Shipper", (cloudpickle.Pickler,), {"dispatch_table": reducers})(buffer).dump((work.job, work.begin))
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError) as error:
        raise BadInput(f"engine 'ray' cannot send this model to other machines: {said(error)}") from error
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)  # type: ignore[no-untyped-call]
    return pickle.dumps(([_Carried.of(plugin) for plugin in loaded_plugins()], buffer.getvalue()))


def unloaded(sent: bytes) -> Job:
    """The job, in a process that has nothing but the package yet, ready to begin.

    Raises:
        BadInput: what it needs is not installed here, or a plugin is not the same here.
    """
    plugins, rest = pickle.loads(sent)
    load_the_same([carried.plugin_here() for carried in plugins])
    try:
        job, begin = pickle.loads(rest)
    except (ImportError, AttributeError) as error:
        raise BadInput(
            f"a worker of the cluster cannot load what it was sent: {said(error)}; install it there"
        ) from error
    begin()
    return job  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Sent:
    """A run without its folder. It is what `Run.model` and others of its methods make a model of, too."""

    folder: Path
    card: Card
    content: bytes

    def weights(self) -> bytes:
        return self.content

    def model(self) -> Bottleneck:
        return trained_model(self.content, self.card, str(self.folder))


def _run_reduced(run: Run) -> tuple[Any, ...]:
    return _Sent, (run.folder, run.card, run.weights())


@dataclass(frozen=True)
class _Whole:
    """A model of one's own, without the files that it was made from."""

    module: nn.Module

    def __call__(self) -> nn.Module:
        return self.module


def _own_modules(model: nn.Module) -> list[ModuleType]:
    """The modules of Python files that are no installed packages and that a model may be made of."""
    named = {name for name in sys.modules if name.startswith(module_name(Path()))}
    files = files_of(named | {type(part).__module__ for part in model.modules()})
    modules = {name: module for name, module in list(sys.modules.items()) if _file_of(module) in files}
    return list({module.__name__: module for module in modules.values()}.values())


def _file_of(module: object) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None


def _script_reduced(model: torch.jit.ScriptModule) -> tuple[Any, ...]:
    buffer = io.BytesIO()
    torch.jit.save(model, buffer)
    return _script, (buffer.getvalue(), model.training)


def _script(content: bytes, training: bool) -> nn.Module:
    model: nn.Module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    return model.train(training)


@dataclass(frozen=True)
class _Carried:
    """A plugin and what its files hold, by name."""

    plugin: Plugin
    files: dict[str, bytes]

    @classmethod
    def of(cls, plugin: Plugin) -> "_Carried":
        places = [plugin.path.parent / name.rpartition("/")[2] for name in plugin.digests] if plugin.path else []
        return cls(plugin, {place.name: place.read_bytes() for place in places if place.is_file()})

    def plugin_here(self) -> Plugin:
        """The plugin, from its own place if the same file lies there, and otherwise from a folder that is made here."""
        plugin, path = self.plugin, self.plugin.path
        if path is None or (path.is_file() and path.read_bytes() == self.files[path.name]):
            return plugin
        folder = Path(tempfile.mkdtemp(prefix="ibrobust-plugin-"))
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return replace(plugin, path=folder / path.name)
