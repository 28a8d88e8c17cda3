"""What a GPU brings: an attack's gradient with and without CUDA graphs, and samples per second by block size.

python -m benchmarks.gpu gradients              milliseconds of a margin's gradient: eager, replayed, compiled
python -m benchmarks.gpu blocks RUN             a run's test samples attacked in blocks of several sizes
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.victims import lenet, residual, strided
from ibrobust import breaking_radii
from ibrobust.images import as_images
from ibrobust.models.resnet import resnet18, resnet_small
from ibrobust.subjects.zoo import find_runs

GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["gradients", "blocks"])
    parser.add_argument("run", type=Path, nargs="?", help="(of blocks) folder of a trained run")
    parser.add_argument("--eps", type=float, default=0.016)
    parser.add_argument("--attacks", default="apgd-ce", help="or strict for that protocol, standing columns")
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 64, 256, 1000])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too; takes seconds for each model")
    options = parser.parse_args()
    print(torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")
    parts = {"gradients": gradients, "blocks": blocks}
    parts[options.part](options)


def gradients(options: argparse.Namespace) -> None:
    for name, (network, shape) in _models().items():
        model = network.cuda().eval().requires_grad_(False)
        for batch in (16, 256, 1024):
            torch.manual_seed(0)
            x, y = torch.rand(batch, *shape, device="cuda"), torch.randint(10, (batch,), device="cuda")
            row = {"model": name, "batch": batch}
            row["eager_ms"] = milliseconds(lambda: margin_gradient(model, x, y), options.repeats)  # noqa: B023
            row["graph_ms"] = milliseconds(replayed(model, x, y), options.repeats)
            if options.compile:
                compiled = torch.compile(model)
                row["compiled_ms"] = milliseconds(lambda: margin_gradient(compiled, x, y), options.repeats)  # noqa: B023
            print(json.dumps(row), flush=True)


def blocks(options: argparse.Namespace) -> None:
    (run,) = find_runs([options.run])
    model, test = run.model().cuda(), run.data(data_dir=None, download=False).test
    how = {"protocol": "strict", "columns": "standing"} if options.attacks == "strict" else {"attacks": options.attacks}
    for size in (16, *options.sizes):  # the first warms up
        samples = test[:size]
        x, y = as_images(samples.x).cuda(), samples.y.cuda()
        torch.cuda.synchronize()
        began = time.perf_counter()
        table = breaking_radii(model, x, y, eps=[options.eps], batch_size=1024, health="ignore", **how)
        seconds = time.perf_counter() - began
        row = {"block": size, "seconds": round(seconds, 2), "samples/s": round(size / seconds, 1)}
        print(json.dumps({**row, "robust": round(float(table.robust_EN.mean()), 4)}), flush=True)


def margin_gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    logits = model(x)
    others = logits.scatter(1, y[:, None], -torch.inf)
    margin = others.amax(1) - logits.gather(1, y[:, None])[:, 0]
    return torch.autograd.grad(margin.sum(), x)[0]


def replayed(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    """The same gradient, captured once; images are copied to where the graph reads them."""
    kept = x.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            margin_gradient(model, kept, y)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        margin_gradient(model, kept, y)

    def again() -> None:
        kept.copy_(x)
        graph.replay()

    return again


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return round((time.perf_counter() - began) / repeats * 1e3, 3)


def _models() -> dict[str, tuple[nn.Module, tuple[int, int, int]]]:
    def classifier(encoder: nn.Module) -> nn.Sequential:
        return nn.Sequential(encoder, nn.Linear(64, 10))

    return {
        "LeNet": (lenet(GREY, 10), GREY),
        "strided CNN": (strided(GREY, 10), GREY),
        "residual": (residual(GREY, 10), GREY),
        "resnet-small": (classifier(resnet_small(COLOUR, 64)), COLOUR),
        "ResNet18": (classifier(resnet18(COLOUR, 64)), COLOUR),
    }


if __name__ == "__main__":
    main()
