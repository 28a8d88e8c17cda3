"""Small random networks of everything that certificates accept, and of much that they refuse; and what attacks find.

The structure is drawn by a function that chooses from a list, so that hypothesis and a seeded script can draw it.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

SHAPES = [(1, 3, 3), (2, 2, 2), (3, 2, 3), (1, 4, 4), (2, 4, 3)]
"""Channels, height and width of the images."""

Choose = Callable[[Sequence[Any]], Any]


class Written(nn.Module):
    """A function of the images and a few layers."""

    def __init__(self, name: str, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.name, self.function, self.layers = name, function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)

    def extra_repr(self) -> str:
        return self.name


def random_network(choose: Choose, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """A network in evaluation mode from images of this shape to logits; weights from torch's generator."""
    blocks: list[nn.Module] = []
    for _ in range(choose(range(5))):
        _append(blocks, choose(IMAGE_BLOCKS)(choose, _shape_after(blocks, shape)), shape)
    _append(blocks, _flattened(choose, _shape_after(blocks, shape)), shape)
    for _ in range(choose(range(4))):
        _append(blocks, choose(FLAT_BLOCKS)(choose, _shape_after(blocks, shape)), shape)
    blocks.append(nn.Linear(_shape_after(blocks, shape)[0], classes))
    if choose([False] * 5 + [True]):
        blocks.append(choose(ACTIVATIONS)(choose, (classes,)))
    return nn.Sequential(*blocks).eval()


def worst_margins(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int = 12) -> Tensor:
    """The smallest logit y − logit j seen in each ball, (samples, classes), in the model's own arithmetic.

    Seen at all corners (or 512 of them), at random points, and where signed gradients lead from the worst of these.
    """
    generator = torch.Generator().manual_seed(0)
    size = x[0].numel()
    if size <= 9:
        signs = torch.tensor(list(product([-1.0, 1.0], repeat=size))).view(-1, *x.shape[1:])
    else:
        signs = torch.randint(0, 2, (512, *x.shape[1:]), generator=generator) * 2.0 - 1
    inside = 2 * torch.rand(128, *x.shape[1:], generator=generator) - 1
    moves = torch.cat([torch.zeros(1, *x.shape[1:]), signs, inside]) * eps
    points = (x[:, None] + moves).clamp(0, 1)
    classes = _margins(model, points[:, :1], y).shape[2]
    worst = _margins(model, points, y)
    found = [worst.amin(1)]
    # Eight of each rival class, one class after the other.
    nearest = worst.topk(8, dim=1, largest=False)[1].transpose(1, 2).flatten(1)
    rivals = torch.arange(classes).repeat_interleave(8)
    start = points.gather(1, nearest.view(*nearest.shape, 1, 1, 1).expand(-1, -1, *x.shape[1:]))
    start = _descended(model, start, x, y, eps, rivals, steps)
    found.append(_margins(model, start, y).amin(1))
    return torch.stack(found).amin(0)


def _descended(model: nn.Module, start: Tensor, x: Tensor, y: Tensor, eps: float, rivals: Tensor, steps: int) -> Tensor:
    """Where signed gradients of each point's margin to its rival lead; the start itself where in-place operations keep
    torch from them."""
    for step in range(steps):
        start = start.detach().requires_grad_()
        try:
            _margins(model, start, y)[:, torch.arange(len(rivals)), rivals].sum().backward()
        except RuntimeError:
            return start.detach()
        moved = start.detach() - eps * (1 - step / steps) * start.grad.sign()
        start = torch.minimum(torch.maximum(moved, x[:, None] - eps), x[:, None] + eps).clamp(0, 1)
    return start


def _margins(model: nn.Module, points: Tensor, y: Tensor) -> Tensor:
    dtype = next(model.parameters()).dtype
    logits = model(points.flatten(0, 1).to(dtype)).double().view(*points.shape[:2], -1)
    return logits.gather(2, y.view(-1, 1, 1).expand(-1, points.shape[1], 1)) - logits


def _append(blocks: list[nn.Module], block: nn.Module | None, shape: tuple[int, ...]) -> None:
    """Add a block that such small images have room for."""
    if block is None:
        return
    try:
        after = _shape_after([*blocks, block], shape)
    except (RuntimeError, ValueError):
        return
    if 0 < torch.Size(after).numel() <= 64:
        blocks.append(block)


def _shape_after(blocks: list[nn.Module], shape: tuple[int, ...]) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(nn.Sequential(*blocks).eval()(torch.zeros(2, *shape)).shape[1:])


def _convolution(choose: Choose, shape, *, outputs: int | None = None, same: bool = False) -> nn.Module:
    channels = shape[0]
    groups = 1 if outputs else choose([1, 1, channels])
    size = choose([1, 3]) if same else (choose([1, 2, 3]), choose([1, 2, 3]))
    padding = size // 2 if same else choose([0, 1, (1, 0), "same"])
    stride = 1 if same or padding == "same" else choose([1, 2, (1, 2)])
    layer = nn.Conv2d(
        channels, outputs or groups * choose([1, 2, 3]), size, stride=stride, padding=padding, groups=groups,
        dilation=1 if same else choose([1, 1, 2]), bias=choose([True, False]),
        padding_mode=choose(["zeros"] * 8 + ["circular", "reflect"]),
    )  # fmt: skip
    return parametrizations.weight_norm(layer) if choose([False] * 6 + [True]) else layer


def _batch_norm(choose: Choose, shape) -> nn.Module:
    layer = (nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d)(shape[0], affine=choose([True, False]))
    layer.running_mean.uniform_(-0.5, 0.5)
    layer.running_var.uniform_(0.2, 3)
    if layer.affine:
        layer.weight.data.uniform_(-2, 2)
        layer.bias.data.uniform_(-1, 1)
    return layer


ACTIVATIONS: list[Callable[..., nn.Module]] = [
    lambda choose, shape: nn.ReLU(inplace=choose([True, False])),
    lambda choose, shape: Written("F.relu", F.relu),
    lambda choose, shape: Written("clamp", lambda x: x.clamp(min=0)),
    lambda choose, shape: nn.LeakyReLU(choose([0.1, 0.5, -0.3, 1.7])),
    lambda choose, shape: nn.Hardtanh(*choose([(-0.1, 0.3), (0.0, 0.5), (0.2, 0.7)])),
    lambda choose, shape: nn.ReLU6(),
    lambda choose, shape: Written("clamp to 0.1", lambda x: x.clamp(min=0.1)),
]


def _activation(choose: Choose, shape) -> nn.Module:
    return choose(ACTIVATIONS)(choose, shape)


def _max_pool(choose: Choose, shape) -> nn.Module:
    size = choose([2, 3, (1, 2), (2, 1)])
    padding = choose([0, 0, 1]) if size in (2, 3) else 0
    return nn.MaxPool2d(
        size, choose([None, 1, 2, (1, 2)]), padding, choose([1] * 8 + [2]), ceil_mode=choose([False, False, True])
    )


def _average_pool(choose: Choose, shape) -> nn.Module:
    size = choose([2, 3, (1, 2)])
    return nn.AvgPool2d(
        size, choose([None, 1, 2]), choose([0, 0, 1]) if size in (2, 3) else 0, ceil_mode=choose([False, False, True]),
        count_include_pad=choose([True, True, False]), divisor_override=choose([None, None, 3]),
    )  # fmt: skip


def _adaptive_pool(choose: Choose, shape) -> nn.Module:
    return choose([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])(choose([1, 2, (1, 2), (3, 1), 5]))


def _inner(choose: Choose, shape) -> nn.Module:
    """A layer that keeps the shape, with or without activations around it."""
    layer = (
        _convolution(choose, shape, outputs=shape[0], same=True) if len(shape) == 3 else nn.Linear(shape[0], shape[0])
    )
    before, after = ([_activation(choose, shape)] if choose([True, False]) else [] for _ in range(2))
    return nn.Sequential(*[block for block in before if not getattr(block, "inplace", False)], layer, *after)


def _in_place_sum(x: Tensor, layer: nn.Module) -> Tensor:
    out = layer(x)
    out += x
    return out.relu_()


def _residual(choose: Choose, shape) -> nn.Module:
    name, function = choose(
        [
            ("x + f(x)", lambda x, f: x + f(x)),
            ("f(x) - x", lambda x, f: f(x) - x),
            ("x.sub(f(x), alpha=0.5)", lambda x, f: x.sub(f(x), alpha=0.5)),
            ("f(x) += x", _in_place_sum),
            ("f(f(x)) + f(x)", lambda x, f: f(f(x)) + f(x)),
        ]
    )
    return Written(name, function, _inner(choose, shape))


def _dense(choose: Choose, shape) -> nn.Module:
    return Written("cat", lambda x, f: torch.cat([f(x), x], 1), _inner(choose, shape))


def _parts(choose: Choose, shape) -> nn.Module:
    name, function = choose(
        [
            ("chunk", lambda x: x.chunk(2, 1)[0] - 2 * x.chunk(2, 1)[-1] if x.shape[1] % 2 == 0 else x),
            ("every second", lambda x: x[:, ::2]),
            ("all but the first", lambda x: x[:, 1:]),
            ("last places", lambda x: x[..., 1:]),
            ("every second from the end", lambda x: x.flip(-1)[..., ::2] if x.ndim == 4 else x),
            ("split", lambda x: torch.cat(x.split(1, 1)[::-1], 1)),
            ("shuffled", lambda x: x.unflatten(1, (-1, 2 - x.shape[1] % 2)).transpose(1, 2).flatten(1, 2)),
        ]
    )
    return Written(name, function)


def _arithmetic(choose: Choose, shape) -> nn.Module:
    constant = torch.rand(choose([shape, (shape[0], *[1] * (len(shape) - 1)), (1, *shape), ()])) + 0.3
    name, function = choose(
        [
            ("(x - c) / c", lambda x: (x - constant) / constant),
            ("1 - x", lambda x: 1 - x),
            ("c - x", lambda x: constant - x),
            ("-x", lambda x: -x),
            ("3 x + c", lambda x: 3 * x + constant),
            ("x / 0.3 - 0.2", lambda x: x / 0.3 - 0.2),
        ]
    )
    return Written(name, function)


def _padded(choose: Choose, shape) -> nn.Module:
    pad, value = choose([((1, 1, 1, 1), 0.0), ((1, 1), 0.0), ((1, 0, 0, 1), 0.0), ((1, 1, 1, 1), 0.5)])
    around = choose(
        [nn.ReplicationPad2d((1, 0, 0, 2)), nn.ReflectionPad2d((0, 1, 1, 0)), nn.ZeroPad2d((1, -1, 2, 0)), None]
    )
    return around or Written(f"pad {pad} {value}", lambda x: F.pad(x, pad, value=value))


def _unchanged(choose: Choose, shape) -> nn.Module:
    return choose([nn.Dropout, nn.Dropout2d if len(shape) == 3 else nn.Dropout, nn.AlphaDropout, nn.Identity])()


def _odd(choose: Choose, shape) -> nn.Module:
    """What has no bounds, or is easily taken for something else."""
    name, function, *layers = choose(
        [
            ("round", torch.round),
            ("gelu", F.gelu),
            ("x * x", lambda x: x * x),
            ("rows", lambda x, f: f(x), nn.Linear(shape[-1], choose([1, 2, 3]))),
            ("transpose", lambda x: x.transpose(1, -1)),
            ("channels last", lambda x: x.movedim(1, -1)),
            ("flip", lambda x: x.flip(-1)),
            ("over channels", lambda x: x.mean(1, keepdim=True)),
            ("over the batch", lambda x: x - x.mean(0)),
            ("batch's own", lambda x, f: f(x), nn.GroupNorm(1, shape[0])),
            ("sorted", lambda x: x.sort(1)[0]),
            ("where", lambda x: torch.where(x > 0.5, x, -x)),
            ("first two axes", lambda x: x.reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)),
            ("detached", lambda x: x - x.detach().round()),
        ]
    )
    return Written(name, function, *layers)


def _flattened(choose: Choose, shape) -> nn.Module:
    return choose(
        [
            nn.Flatten(),
            Written("view", lambda x: x.reshape(len(x), -1)),
            Written("mean", lambda x: x.mean((2, 3)) if x.ndim == 4 else x.flatten(1)),
            Written("two steps", lambda x: x.flatten(2).flatten(1) if x.ndim == 4 else x.flatten(1)),
            Written("sum", lambda x: x.sum((-1, -2)) if x.ndim == 4 else x.flatten(1)),
        ]
    )


def _linear(choose: Choose, shape) -> nn.Module:
    layer = nn.Linear(shape[0], choose([2, 4, 8]), bias=choose([True, True, False]))
    return parametrizations.spectral_norm(layer) if choose([False] * 6 + [True]) else layer


IMAGE_BLOCKS: list[Callable[..., nn.Module]] = [
    *[_convolution] * 5, *[_activation] * 4, *[_max_pool] * 2, *[_average_pool] * 2, _adaptive_pool, _batch_norm,
    *[_residual] * 2, _dense, _parts, _arithmetic, _padded, _unchanged, _odd,
]  # fmt: skip
FLAT_BLOCKS: list[Callable[..., nn.Module]] = [
    *[_linear] * 4, *[_activation] * 4, _batch_norm, _residual, _dense, _parts, _arithmetic, _unchanged, _odd,
]  # fmt: skip
