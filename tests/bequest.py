"""A process with a child that leads a session of three which know of nobody: `python -m tests.bequest`."""

import os
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context

from ibrobust.experiments.lifelines import end_rest_of_session, serve_parent


def lead(parent: int) -> None:
    serve_parent(parent, last=partial(end_rest_of_session, os.getpid()))
    os.setsid()
    for _ in range(2):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    print("ready", flush=True)
    time.sleep(300)


if __name__ == "__main__":
    get_context("spawn").Process(target=lead, args=(os.getpid(),)).start()
    time.sleep(300)
