"""`python -m ibrobust.information`: runs in; every information quantity of the paper, each with its error, out."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, torch_device
from ibrobust.errors import BadInput, RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from ibrobust.subjects.zoo import Run

_SAMPLES = 10_000


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    device = torch_device(options.device, options.threads)

    from ibrobust.entropies.table import information_text
    from ibrobust.files import require_writable
    from ibrobust.subjects.zoo import CARD, find_runs
    from ibrobust.tables import save_table

    own = options.runs.is_dir() and any(options.runs.glob(f"*/{CARD}"))
    runs = find_runs(options.run or [options.runs if own else Path("zoo")])
    require_writable(options.out)
    tables, failed = [], []
    for found in runs:
        try:
            tables.append(_measured_run(found, options, device))
        except BadInput as error:
            failed.append(found.card.run)
            print(f"error: run {found.card.run}: {error}", file=sys.stderr, flush=True)
    if tables:
        import pandas as pd

        table = pd.concat(tables, ignore_index=True)
        save_table(information_text(table), options.out / "information.csv")
        paths = [options.out / "information.csv", *(_figures(table, runs, options.out) if options.figures else [])]
        print("\n".join(map(str, paths)))
    if failed:
        raise RunFailed(f"{len(failed)} of {len(runs)} runs could not be measured: {', '.join(failed)}")


def _measured_run(found: "Run", options: Namespace, device: str) -> "pd.DataFrame":
    import pandas as pd

    from ibrobust.entropies.measurement import measured, views_of
    from ibrobust.entropies.table import information_rows

    card = found.card
    data = found.data(data_dir=options.data_dir, download=options.download)
    model = found.model().to(device)
    tables = []
    for split, samples in (("train", data.train[: options.samples]), ("test", data.test[: options.samples])):
        for view in [options.noise] if options.noise else views_of(model, options.draws):
            measurement = measured(
                model, samples, view=view, ks=options.k, norm=options.distance, retrain=options.retrain_decoder,
                repeats=options.repeats, seed=options.seed,
            )  # fmt: skip
            table = information_rows(measurement, run=card.run, split=split, view=view)
            print(f"{card.run} · {split} · {view}: {_summary(table, measurement.error)}", flush=True)
            for sentence in measurement.warnings:
                print(f"  warning: {sentence}", flush=True)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _summary(table: "pd.DataFrame", error: float) -> str:
    from ibrobust.entropies.table import wide

    cross_entropy = table.loc[table["quantity"] == "decoder_cross_entropy", "nats"].iloc[0]
    words = [f"error {error:.4f}", f"Hθ[Y|Z] {cross_entropy:.4f}"]
    for quantity, symbol in (("encoding_entropy", "H[Z]"), ("preserved_information", "I[X;Z]")):
        if quantity in set(table["quantity"]):
            values = wide(table, [quantity], estimator="knn", keys=["run"]).iloc[0]
            best, low, high = (values[f"{quantity}{end}"] for end in ("", "_low", "_high"))
            words.append(f"{symbol} {best:.2f} in [{low:.2f}, {high:.2f}]")
    return ", ".join(words)


def _figures(table: "pd.DataFrame", runs: "list[Run]", out: Path) -> list[Path]:
    import pandas as pd

    from ibrobust.entropies.table import read_information
    from ibrobust.entropies.trajectory import TRAJECTORY
    from ibrobust.figures.panels import (
        diagram_figure,
        entropies_figure,
        gamma_figure,
        plane_figure,
        saturation_figure,
    )
    from ibrobust.figures.robustness import save_figure

    recipes = pd.DataFrame([{"run": r.card.run, "reg": r.card.recipe.reg, "gamma": r.card.recipe.gamma} for r in runs])
    labelled = table.merge(recipes, on="run")
    figures = {"saturation": saturation_figure(labelled), "quantities": gamma_figure(labelled)}
    tracked = [read_information(r.folder / TRAJECTORY) for r in runs if (r.folder / TRAJECTORY).is_file()]
    if tracked:
        trajectories = pd.concat(tracked, ignore_index=True).merge(recipes, on="run")
        figures |= {"information-plane": plane_figure(trajectories), "entropies": entropies_figure(trajectories)}
    for name in table["run"].unique():
        figures[f"{name}/diagram"] = diagram_figure(table[table["run"] == name])
    return [path for name, figure in figures.items() for path in save_figure(figure, out / name)]


def _parser() -> Parser:
    parser = Parser("information", "Measure what trained runs keep of their input, each number with its error.")
    parser.add_argument("run", type=Path, nargs="*", help="runs or folders of runs; zoo for the released ones")
    parser.add_argument("--noise", default=None, help="one view: mean, fresh or averaged:N; all of a model by default")
    parser.add_argument("--draws", type=int, default=12, help="samples of the noise in the averaged view")
    parser.add_argument("--samples", type=int, default=_SAMPLES, help="first N of each split; costs grow as N²")
    parser.add_argument("--k", type=int, nargs="+", default=[3], help="neighbours of the entropy estimates")
    parser.add_argument("--distance", default="l2", help="norm of the entropy estimates: l2, max")
    parser.add_argument(
        "--retrain-decoder", action="store_true", help="bound H[Y|Z] by a decoder trained on each split"
    )
    parser.add_argument("--repeats", type=int, default=4, help="sets of Gaussian samples that each bias is measured on")
    parser.add_argument("--figures", action="store_true", help="draw information planes, curves and I-diagrams too")
    parser.add_argument("--seed", type=int, default=0, help="seed of the latent's noise and of the Gaussian samples")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to")
    parser.add_data_flags()
    parser.add_device_flags(threads=None)
    return parser
