"""A submission as one file: a ZIP archive that stores its files as they are, so that nothing in it grows when it is
read, and that holds not one byte more than its files and their names.

The same files give the same bytes: names are sorted, times are 1980, nothing is compressed (Parquet is already).
"""

import hashlib
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ibrobust.errors import BadInput, shortened
from ibrobust.submissions.manifest import MANIFEST, FileRecord, Manifest, manifest_bytes, manifest_of
from ibrobust.submissions.manifest import MOST_BYTES as MOST_MANIFEST

MOST_BYTES = 512 * 2**20
MOST_FILES = 200

AUDIT = "results/audit.csv"

_NAME = r"(?!\.)[A-Za-z0-9._-]{1,120}"
_PLACES = re.compile(
    rf"results/audit\.csv|results/{_NAME}/(images/)?{_NAME}(@[0-9-]{{1,40}})?\.parquet"
    rf"|runs/{_NAME}/(card\.json|history\.csv|weights\.safetensors)"
)
"""Everything that a submission may hold, beside the manifest."""

_BEFORE, _IN_DIRECTORY, _AT_THE_END = 30, 46, 22
"""Bytes of a ZIP archive beside names and contents: before each file, for each in the directory, and once."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
_CHUNK = 2**20


@dataclass(frozen=True)
class Submission:
    """An unpacked submission: every file is there, of the name and content that the manifest says."""

    manifest: Manifest
    folder: Path
    called: str

    @contextmanager
    def named(self) -> Iterator[None]:
        """Inside the block, what is wrong is said of the submission, without the temporary folder's name."""
        try:
            yield
        except BadInput as error:
            raise BadInput(f"{self.called}: {_without(self.folder, str(error))}") from error

    def names(self, start: str, end: str = "") -> list[str]:
        """The names of the files that begin and end so, sorted."""
        return sorted(name for name in self.manifest.files if name.startswith(start) and name.endswith(end))


def record_of(path: Path) -> FileRecord:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return FileRecord(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def write_archive(manifest: Manifest, files: Mapping[str, Path], path: Path) -> None:
    """Write the manifest and the files that it lists.

    Raises:
        BadInput: it is more than an archive may hold.
    """
    size = sum(record.bytes for record in manifest.files.values())
    if size > MOST_BYTES or len(files) >= MOST_FILES:
        most = f"{MOST_FILES} files and {MOST_BYTES >> 20} MB"
        raise BadInput(f"{len(files)} files of {size / 2**20:.0f} MB are too much; a submission holds at most {most}")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_info(MANIFEST), manifest_bytes(manifest))
        for name in sorted(files):
            archive.writestr(_info(name), files[name].read_bytes())


@contextmanager
def unpacked(path: Path, *, called: str | None = None) -> Iterator[Submission]:
    """The files of a submission in a temporary folder, which goes when the block ends. Nothing in them is executed.

    Args:
        called: what messages call the file; its path by default.

    Raises:
        BadInput: it is not a whole submission, or holds anything else; what the block raises about one of the files
            names the submission instead of the temporary folder.
    """
    shown = called or str(path)
    if not path.is_file():
        raise BadInput(f"{shown}: {'it is a folder, not a file' if path.is_dir() else 'there is no such file'}")
    if (size := path.stat().st_size) > MOST_BYTES + 2 * MOST_MANIFEST:
        raise BadInput(f"{shown}: it has {size >> 20} MB; a submission has at most {MOST_BYTES >> 20}")
    with tempfile.TemporaryDirectory(prefix="ibrobust-") as temporary:
        folder = Path(temporary)
        try:
            manifest = _extracted(path, size, folder)
        except BadInput as error:
            raise BadInput(f"{shown}: {error}") from error
        try:
            yield Submission(manifest, folder, shown)
        except BadInput as error:
            if _without(folder, str(error)) == str(error):
                raise
            raise BadInput(_without(folder, str(error), f"{shown}: ")) from error


def _without(folder: Path, text: str, instead: str = "") -> str:
    """The text without the folder in front of its files."""
    for place in (f"{folder}/", f"{folder}\\"):
        text = text.replace(place, instead)
    return text


def _extracted(path: Path, size: int, folder: Path) -> Manifest:
    """The manifest; every file that it lists is written below the folder."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            for info in infos[: MOST_FILES + 1]:
                _require_plain(info)
            _require_places([info.filename for info in infos])
            _require_nothing_between(infos, size)
            content = archive.read(infos[0])
            manifest = manifest_of(content)
            (folder / MANIFEST).write_bytes(content)
            names = {info.filename for info in infos[1:]}
            if apart := sorted(names ^ manifest.files.keys()):
                where = f"is not in {MANIFEST}" if apart[0] in names else f"is in {MANIFEST} and not in the file"
                raise BadInput(f"{shortened(apart[0])} {where}")
            for info in infos[1:]:
                _extract(archive, info, manifest.files[info.filename], folder)
    except BadInput:
        raise
    except OSError as error:
        if error.errno is not None:  # The disk, not the archive.
            raise
        raise BadInput(f"it is not a whole submission: {shortened(str(error))}") from error
    except Exception as error:  # What damaged bytes make of the reader is any kind of error.
        raise BadInput(f"it is not a whole submission: {shortened(str(error) or type(error).__name__)}") from error
    return manifest


def _require_plain(info: zipfile.ZipInfo) -> None:
    name = shortened(info.filename)
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise BadInput(f"{name} is compressed; a submission stores its files as they are")
    if info.flag_bits or info.extra or info.comment:
        raise BadInput(f"{name} is encrypted, or has more fields than a submission's files")
    if not stat.S_ISREG(info.external_attr >> 16):
        raise BadInput(f"{name} is a link or something else that is no plain file")
    if info.filename != MANIFEST and not _PLACES.fullmatch(info.orig_filename):
        raise BadInput(f"{name} is nothing that a submission holds")
    if info.filename == MANIFEST and info.file_size > MOST_MANIFEST:
        raise BadInput(f"{MANIFEST} has {info.file_size} bytes; at most {MOST_MANIFEST}")


def _require_places(names: Sequence[str]) -> None:
    if len(names) > MOST_FILES:
        raise BadInput(f"it holds {len(names)} files; a submission has at most {MOST_FILES}")
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise BadInput(f"{twice[0]} is there twice")
    if not names or names[0] != MANIFEST:
        raise BadInput(f"its first file is not {MANIFEST}")


def _require_nothing_between(infos: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Files follow each other from the first byte on, then the directory: none overlap, and nothing is hidden."""
    place = 0
    for info in infos:
        if info.header_offset != place:
            raise BadInput(f"before {info.filename} there are bytes that belong to no file")
        place += _BEFORE + len(info.filename) + info.file_size
    directory = sum(_IN_DIRECTORY + len(info.filename) for info in infos) + _AT_THE_END
    if size != place + directory:
        raise BadInput("behind its files there are bytes that belong to no file")


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, record: FileRecord, folder: Path) -> None:
    target = folder / info.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as file:
        try:
            with archive.open(info) as content:
                while chunk := content.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except zipfile.BadZipFile:  # Its check sum; ours says the same with more certainty.
            digest.update(b"damaged")
    if (target.stat().st_size, digest.hexdigest()) != (record.bytes, record.sha256):
        raise BadInput(f"{info.filename} is not what {MANIFEST} says: its SHA-256 differs")


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system = 3  # Unix, wherever it is made
    info.external_attr = _MODE << 16
    return info
