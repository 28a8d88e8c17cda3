"""`python -m ibrobust.export`: the adversarial images of results as PNG pairs and one `.npz` for use elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, count, parsed, torch_device
from ibrobust.commands.verify import add_model_flags, image_shape, model_of, results_with_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from ibrobust.robustness.evidence import Evidence


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    options.device = torch_device(options.device, options.threads)

    from ibrobust.files import require_writable
    from ibrobust.robustness.evidence import evidence_path, load_evidence

    files = results_with_images(options.results)
    require_writable(options.out)
    for path in files:
        evidence, card = load_evidence(evidence_path(path))
        model, _ = model_of(card, image_shape(evidence), options)
        folder = options.out / card.settings.label / path.stem
        _save_arrays(evidence, folder / "adversarial.npz")
        shown = min(len(evidence), options.pictures)
        for row in range(shown):
            _save_pair(evidence, row, folder)
        mended = _undone_by_bytes(evidence, model.to(options.device))
        print(f"{folder}: {len(evidence)} images, {shown} of them as PNG pairs; rounded to bytes, {mended} are no "
              "mistakes any more", flush=True)  # fmt: skip


def _save_arrays(evidence: "Evidence", path: Path) -> None:
    """`x` and `x_adv` (float32), `y`, `ids`, `radius` and `attack`, row by row."""
    import numpy as np

    from ibrobust.files import written_whole

    rows = evidence.rows
    with written_whole(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            x=evidence.originals.numpy(),
            x_adv=evidence.images.numpy(),
            y=rows["label"].to_numpy(),
            ids=rows["sample"].to_numpy(),
            radius=rows["radius"].to_numpy(),
            attack=rows["attack"].to_numpy().astype(str),
        )


def _save_pair(evidence: "Evidence", row: int, folder: Path) -> None:
    """The unchanged image and the adversarial one, rounded to bytes, side by side in the folder."""
    from PIL import Image

    from ibrobust.files import written_whole

    sample, attack = evidence.rows["sample"].iloc[row], evidence.rows["attack"].iloc[row]
    for images, kind in ((evidence.originals, "original"), (evidence.images, attack)):
        with written_whole(folder / f"{sample}-{kind}.png") as unfinished:
            Image.fromarray(_bytes(images[row])).save(unfinished, format="PNG")


def _bytes(image: "Tensor") -> "NDArray[np.uint8]":
    """(C, H, W) in [0, 1] → (H, W) or (H, W, 3) bytes; of another number of channels the first."""
    import torch

    rounded = (image * 255).round().to(torch.uint8)
    shown = rounded.permute(1, 2, 0) if len(rounded) == 3 else rounded[0]
    pixels: NDArray[np.uint8] = shown.contiguous().numpy()
    return pixels


def _undone_by_bytes(evidence: "Evidence", model: "nn.Module") -> int:
    """How many images are classified right once their pixels are rounded to 8 bits."""
    from ibrobust.experiments.verification import classified_right

    return int(classified_right(model, (evidence.images * 255).round() / 255, evidence.rows["label"]).sum())


def _parser() -> Parser:
    parser = Parser("export", "Adversarial images of stored results as PNG pairs and an .npz for use elsewhere.")
    add_model_flags(parser)
    parser.add_argument("--pictures", type=count, default=20, help="PNG pairs written for each result, the first")
    parser.add_argument("--out", type=Path, default=Path("exported"), help="folder to write to")
    return parser
