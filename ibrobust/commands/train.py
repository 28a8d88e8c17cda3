"""`python -m ibrobust.train`: a recipe in, a run on disk out."""

import sys
from argparse import SUPPRESS, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ibrobust.commands.command_line import Parser, doing, parsed, torch_device
from ibrobust.commands.job_flags import add_job_flags, place_of
from ibrobust.errors import BadInput, RunFailed
from ibrobust.experiments.jobs import Place, answers
from ibrobust.recipe import Recipe, make_recipe, recipes_in
from ibrobust.records import choices
from ibrobust.registry import EXTENSION_POINTS

if TYPE_CHECKING:
    from ibrobust.datasets import DataOptions, Dataset
    from ibrobust.subjects.zoo import Run


MEASURED = 10_000
"""Samples of each split that the card's metrics are of: the k-NN estimate is quadratic in them."""

_TRACKED = 2000
"""Samples of each split that a trajectory measures."""


def main(arguments: Sequence[str]) -> None:
    options = vars(parsed(_parser, arguments))
    given = {key: value for key in Recipe.model_fields if (value := options.get(key)) is not None}
    file: Path | None = options["recipe"]
    recipes = recipes_in(file, given) if file else [make_recipe(given)]
    require_known(recipes)
    place = place_of(Namespace(**options))
    runs = _trained_here if place.engine == "local" else _trained_elsewhere
    for trained in runs(recipes, options, place):
        test = trained.card.metrics["test"]
        print(f"{trained.folder}  test accuracy {1 - test['error']:.4f}  {_information(test)}", flush=True)


def require_known(recipes: Sequence[Recipe]) -> None:
    """Raises:
    BadInput: a recipe names something that is not registered or does not fit together; nothing is trained then.
    """
    from ibrobust.datasets import options_of
    from ibrobust.learning.objectives import recipe_noise, require_fitting

    for recipe in recipes:
        for kind, name in recipe.names:
            if kind not in ("data set", "latent noise"):  # a path and a number will do, too
                EXTENSION_POINTS[kind][name]
        options_of(recipe)
        require_fitting(recipe)
        recipe_noise(recipe)


def _trained_here(recipes: Sequence[Recipe], options: dict[str, Any], place: Place) -> "Iterator[Run]":
    job = partial(_trained, options=options, runs=options["runs"], data_of=partial(_loaded, options=options))
    yield from (trained for _, trained in answers(job, recipes, place))


def _trained_elsewhere(recipes: Sequence[Recipe], options: dict[str, Any], place: Place) -> "Iterator[Run]":
    """Where workers may share no folder with this process: data goes there, the files of runs come back."""
    from ibrobust.datasets import options_of
    from ibrobust.files import require_writable, written_whole
    from ibrobust.subjects.zoo import CARD, load_run

    require_writable(options["runs"])
    left: list[Recipe] = []
    data: dict[tuple[str, DataOptions], Dataset] = {}
    for recipe in recipes:
        if finished := _finished(recipe, options):
            yield finished
            continue
        left.append(recipe)
        if (recipe.data, options_of(recipe)) not in data:
            data[recipe.data, options_of(recipe)] = _loaded(recipe, options=options)
        _warn_of_sorted_data(recipe, data[recipe.data, options_of(recipe)], options["track_information"])
    for recipe, files in answers(partial(_files, options=options, data_of=_Given(data)), left, place):
        # The card comes last, so a run without one never finished.
        for name in sorted(files, key=lambda name: name == CARD):
            with written_whole(options["runs"] / recipe.run_id / name) as unfinished:
                unfinished.write_bytes(files[name])
        yield load_run(options["runs"] / recipe.run_id)


@dataclass(frozen=True)
class _Given:
    """Data sets that are loaded, by what a recipe says of them."""

    sets: "dict[tuple[str, DataOptions], Dataset]"

    def __call__(self, recipe: Recipe) -> "Dataset":
        from ibrobust.datasets import options_of

        return self.sets[recipe.data, options_of(recipe)]


def _loaded(recipe: Recipe, *, options: dict[str, Any]) -> "Dataset":
    from ibrobust.datasets import options_of, read_dataset

    with doing(f"loading the data {recipe.data}"):
        return read_dataset(recipe.data, options_of(recipe), data_dir=options["data_dir"], download=options["download"])


def _files(recipe: Recipe, *, options: dict[str, Any], data_of: "Callable[[Recipe], Dataset]") -> dict[str, bytes]:
    """One job, elsewhere: the files of the run by name."""
    with TemporaryDirectory() as folder:
        trained = _trained(recipe, options={**options, "again": True}, runs=Path(folder), data_of=data_of)
        return {path.name: path.read_bytes() for path in trained.folder.iterdir()}


def _trained(recipe: Recipe, *, options: dict[str, Any], runs: Path, data_of: "Callable[[Recipe], Dataset]") -> "Run":
    """One job: a recipe is trained and saved; a finished run of the same recipe is loaded instead unless `again`."""
    from ibrobust.files import require_writable

    if finished := _finished(recipe, options):
        return finished
    data = data_of(recipe)
    require_writable(runs)
    _warn_of_sorted_data(recipe, data, options["track_information"])
    device = torch_device(options["device"], options["threads"])
    return train_run(recipe, data, runs=runs, device=device, track=options["track_information"])


def _finished(recipe: Recipe, options: dict[str, Any]) -> "Run | None":
    """The run of the same recipe that is there, with everything that the flags request."""
    from ibrobust.entropies.trajectory import TRAJECTORY
    from ibrobust.subjects.zoo import CARD, load_run

    folder = options["runs"] / recipe.run_id
    there = (folder / CARD).is_file() and (options["track_information"] is None or (folder / TRAJECTORY).is_file())
    if options["again"] or not there:
        return None
    finished = load_run(folder)
    if finished.changed_plugins:
        changed = ", ".join(finished.changed_plugins)
        raise BadInput(f"run {recipe.run_id} was trained with another {changed}; --again trains it anew")
    return finished


def train_run(recipe: Recipe, data: "Dataset", *, runs: Path, device: str, track: int | None = None) -> "Run":
    """Train and save one recipe.

    Args:
        track: measure the information every so many epochs, for the run's `information.csv`.

    Raises:
        RunFailed: training diverged, or left a latent that cannot be measured; names the run. Nothing is written.
    """
    from torch.linalg import LinAlgError  # type: ignore[attr-defined]

    try:
        return _trained_and_saved(recipe, data, runs=runs, device=device, track=track)
    except RunFailed as failure:
        raise RunFailed(f"{recipe.run_id}: {failure}") from failure
    except LinAlgError as error:
        raise RunFailed(
            f"{recipe.run_id}: its latent is too large beside its noise to be measured ({error})"
        ) from error


def _trained_and_saved(recipe: Recipe, data: "Dataset", *, runs: Path, device: str, track: int | None) -> "Run":
    from tqdm import tqdm

    from ibrobust.entropies.quantities import require_finite, summary
    from ibrobust.entropies.table import information_text
    from ibrobust.entropies.trajectory import TRAJECTORY, Trajectory
    from ibrobust.learning.training import train
    from ibrobust.subjects.zoo import save_run
    from ibrobust.tables import save_table

    with tqdm(total=recipe.epochs, desc=recipe.run_id, unit="epoch", disable=None) as bar:

        def progress(_epoch: int, row: dict[str, float | int]) -> None:
            bar.set_postfix(loss=f"{row['loss']:.4g}", error=f"{row['error']:.4f}", refresh=False)
            bar.update()

        tracked = {"train": data.train[:_TRACKED], "test": data.test[:_TRACKED]}
        trajectory = Trajectory(tracked, every=track, epochs=recipe.epochs, run=recipe.run_id) if track else None
        observe = {"observe": trajectory} if trajectory else {}
        trained = train(recipe, data, device=device, progress=progress, **observe)
    splits = {"train": data.train[:MEASURED], "test": data.test[:MEASURED]}
    for split in splits.values():
        require_finite(trained.model, split.x)
    with doing("measuring what the latent keeps"):
        metrics = {name: summary(trained.model, split.x, split.y) for name, split in splits.items()}
    if trajectory:
        save_table(information_text(trajectory.table), runs / recipe.run_id / TRAJECTORY)
    return save_run(runs, recipe, data, trained, metrics)


def _warn_of_sorted_data(recipe: Recipe, data: "Dataset", track: int | None) -> None:
    """Say on stderr where the first samples, trained on or measured, lack classes that they should hold."""
    from ibrobust.datasets import sorted_samples

    measured = _TRACKED if track else MEASURED
    trained_on = recipe.train_samples or len(data.train)
    for part, split, used in (
        ("training", data.train, trained_on), ("training", data.train, measured), ("test", data.test, measured),
    ):  # fmt: skip
        for sentence in sorted_samples(split, min(used, len(split)), part=part):
            print(f"warning: {recipe.run_id}: {sentence}", file=sys.stderr, flush=True)


def _information(metrics: dict[str, float]) -> str:
    nats, low, high = (metrics.get(f"preserved_information{end}") for end in ("", "_low", "_high"))
    if nats is None and low is not None and high is not None:
        return f"I[X;Z] in [{low:.1f}, {high:.1f}] nats"
    return "" if nats is None else f"I[X;Z] {nats:.1f} nats"


def _interval(text: str) -> int:
    """`every=N` to N; argparse turns the error into one line."""
    key, _, epochs = text.partition("=")
    if key != "every" or not epochs.isdecimal() or int(epochs) < 1:
        raise ArgumentTypeError(f"{text!r}; write every=N with N ≥ 1")
    return int(epochs)


def _parser() -> Parser:
    parser = Parser("train", "Train a classifier with an information bottleneck, or a baseline without one.")
    parser.add_argument("--recipe", type=Path, help="TOML file; flags beside it win, lists in it are grids")
    defaults = {key: field.get_default() for key, field in Recipe.model_fields.items()}
    for key, field in Recipe.model_fields.items():
        names = f"; {', '.join(choices(field))}" if choices(field) else ""
        parser.add_argument(
            f"--{key.replace('_', '-')}",
            type=type(defaults[key]),
            metavar=key.upper(),
            help=f"{field.description}{names} (default: {defaults[key]})",
            default=SUPPRESS,
        )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument(
        "--track-information", type=_interval, metavar="every=N", help="measure the information every N epochs"
    )
    parser.add_argument("--again", action="store_true", help="train even if this run is finished")
    parser.add_data_flags()
    # The bits of trained weights depend on the number of threads: one gives the same everywhere.
    parser.add_device_flags(default_threads=1)
    add_job_flags(parser)
    return parser
