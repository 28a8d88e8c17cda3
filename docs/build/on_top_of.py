"""`python on_top_of.py OTHER`: this environment sees the packages of another Python below its own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

other = subprocess.check_output(
    [sys.argv[1], "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
)
Path(sysconfig.get_path("purelib"), "on_top_of.pth").write_text(other, encoding="utf-8")
