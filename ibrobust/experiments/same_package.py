"""Whether two machines would compute the same: what is installed on them, by version, and the package's own text."""

import hashlib
from functools import cache
from pathlib import Path

import ibrobust
from ibrobust.subjects.zoo import versions

_TEXT = "source"


@cache
def this_package() -> dict[str, str]:
    """Versions that can change a result's last bits, and a digest of this package's source files: a version may have
    been worked on."""
    digest = hashlib.sha256()
    folder = Path(ibrobust.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return {**versions(), _TEXT: digest.hexdigest()[:12]}


def differences(there: dict[str, str], here: dict[str, str]) -> str:
    """In words, what `there` is not as it is here; nothing where all is the same."""
    apart = [name for name in here if there.get(name) != here[name]]
    if apart == [_TEXT]:
        return f"ibrobust {here['ibrobust']} with other source files ({there.get(_TEXT)}, and here {here[_TEXT]})"
    words = [f"{name} {there.get(name)} (here {here[name]})" for name in apart if name != _TEXT]
    return " and ".join(words)
