"""The most memory that an evaluation of 10,000 CIFAR-sized images holds: all attacks, ten radii. `make bench`"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LIMIT_GB = 3.0
# Fewer steps and targets take less time and as much memory; the process is new, so that nothing else has been in it.
SCRIPT = """
from dataclasses import replace
from pathlib import Path
import torch
from torch import nn
from ibrobust import breaking_radii
from ibrobust.robustness.question import chosen_attacks
from ibrobust.robustness.settings import Settings

SHORT = {"deepfool": {"steps": 5}, "bim": {"steps": 3}, "pgd": {"steps": 3}, "apgd-ce": {"steps": 3},
         "apgd-t": {"steps": 2, "targets": 2}, "fab-t": {"steps": 2, "targets": 2}, "square": {"queries": 5}}
attacks = {name: replace(attack, settings=attack.settings | SHORT.get(name, {}))
           for name, attack in chosen_attacks(Settings(protocol="strict")).items()}
torch.set_num_threads(2)
torch.manual_seed(0)
x = torch.randint(256, (10_000, 3, 32, 32), dtype=torch.uint8)
model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1),
                      nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2048, 10)).eval()
with torch.no_grad():
    y = torch.cat([model(images / 255).argmax(1) for images in x.split(500)])
table = breaking_radii(model, x, y, eps="0:0.02", attacks=attacks)
assert table.clean == 1 and len(table.rows) == 10_000
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 2**20)
"""


def test_peak_memory_of_a_strict_evaluation(benchmark: Any) -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak is read from /proc")
    command = [sys.executable, "-c", SCRIPT]
    finished = benchmark.pedantic(
        subprocess.run, (command,), {"capture_output": True, "text": True, "check": True, "cwd": ROOT}
    )
    gigabytes = float(finished.stdout)
    benchmark.extra_info["peak_gb"] = gigabytes
    print(f"\npeak {gigabytes:.2f} GB")
    assert gigabytes < LIMIT_GB
