"""Images and labels in two `.npy` files."""

from pathlib import Path

from ibrobust.datasets.arrays import Named, array_split
from ibrobust.datasets.forms import Form
from ibrobust.datasets.interface import Parts
from ibrobust.datasets.npz_arrays import npy_array
from ibrobust.datasets.options import DataOptions
from ibrobust.errors import BadInput


def npy_pair(images: Path, labels: Path, layout: str) -> Parts:
    """The test part that two files hold; images of more than 256 MB are read as they are needed.

    Raises:
        BadInput: a file cannot be read, or the two are no data set.
    """
    x, y = npy_array(images), npy_array(labels)
    names = Named(f"data {str(images)!r}", f"data {str(labels)!r}", str(images.name))
    test = array_split(x, y.mapped(), names, layout)
    return Parts(test[:0], test)


def _load(data: str, options: DataOptions) -> Parts:
    files = data.split(",")
    if len(files) != 2:
        raise BadInput(f"data {data!r}: write two files, IMAGES.npy,LABELS.npy")
    return npy_pair(Path(files[0]), Path(files[1]), options.layout)


NPY = Form(
    "IMAGES.npy,LABELS.npy",
    accepts=lambda data: data.lower().endswith(".npy"),
    load=_load,
    holds="images and labels as NumPy saves them; large ones are mapped, not read",
    takes=("layout",),
    title=lambda data: Path(data.split(",")[0]).resolve().stem,
    example="images.npy,labels.npy",
)
