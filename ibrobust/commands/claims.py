"""`python -m ibrobust.claims`: what the paper's attacks say beside what strong ones say, by recipe, over seeds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ibrobust.commands.command_line import Parser, parsed
from ibrobust.errors import BadInput

if TYPE_CHECKING:
    from ibrobust.robustness.results import BreakingRadii


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)

    from ibrobust.commands.stored_results import require_places, stored_results
    from ibrobust.commands.table_formats import as_markdown
    from ibrobust.files import require_replaceable
    from ibrobust.robustness.claims import claims_table, is_claim, printed_claims, protocol_of
    from ibrobust.robustness.radii import parse_radii
    from ibrobust.robustness.same_runs import is_strongest, left_out
    from ibrobust.robustness.settings import make_settings
    from ibrobust.tables import save_table

    if options.csv is not None:
        require_replaceable(options.csv)
    require_places(options.results)
    view = make_settings({"view": options.view}).view
    stored = stored_results(options.results)
    results = [result for result in stored if is_claim(result, view)]
    if not results:
        of, folders = protocol_of(view), ", ".join(map(str, options.results))
        noise = "" if view == "mean" else f" with view {view!r}"
        raise BadInput(f"no results of trained runs by all attacks of the {of} protocol{noise} in {folders}")
    strongest = [cast("BreakingRadii", result) for result in stored if view == "mean" and is_strongest(result)]
    radii = parse_radii(options.eps) if options.eps else ()
    table = claims_table(results, radii, strongest)
    print(as_markdown(printed_claims(table)), end="")
    for sentence in left_out(results, strongest, radii):
        print(f"\n{sentence}")
    if options.csv is not None:
        save_table(table, options.csv)
        print(f"\n{options.csv}")


def _parser() -> Parser:
    parser = Parser(
        "claims",
        "Show FGSM's, the paper's and the strict number of every recipe side by side: mean and standard deviation over "
        "its seeds, how many there are, and the audit's verdicts; the strongest protocol's, too, where the same runs "
        "have it. No model is needed.",
    )
    parser.add_argument(
        "results", type=Path, nargs="*", default=[Path("results")],
        help="folders that hold strict results, of which the paper's attacks are a part; zoo for the released ones",
    )  # fmt: skip
    parser.add_argument(
        "--eps", default=None, help="show these radii, as 0.05,0.1, instead of the largest one and the mean over all"
    )
    parser.add_argument(
        "--view", default="mean",
        help="mean (noise off), or fresh or averaged:N for results of the strict-rand protocol",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, default=None, metavar="FILE", help="write the numbers as a CSV file, too")
    return parser
