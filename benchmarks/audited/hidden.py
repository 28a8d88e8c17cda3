"""Models that lead gradients astray, and models with noise."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audited.defence import Defence, Defended, Trained, learned, network, passed


def saturated(trained: Trained) -> Defence:
    """A hidden layer's tanh, a thousand times as steep as it was trained."""

    class Steep(nn.Module):
        steepness = 1.0

        def forward(self, z: Tensor) -> Tensor:
            return torch.tanh(self.steepness * z)

    model = learned(trained, network(nn.ReLU, 2))
    model[4] = Steep()
    learned(trained, model, epochs=10)
    model[4].steepness = 1000.0
    learned(trained, model[5:], epochs=5, loss=lambda m, x, y: F.cross_entropy(m(model[:5](x).detach()), y))
    first, last = model[:4], model[5]

    def soft(x: Tensor) -> Tensor:
        z = first(x)
        return last(passed(torch.tanh(1000 * z), torch.tanh(z)))

    return Defence(model.requires_grad_(False), [soft])


def gradient_stopped(trained: Trained) -> Defence:
    model = trained.mlp()
    return Defence(Defended(lambda x: model(x.detach()) + 0 * x.sum(), model), [model])


def decoy(trained: Trained) -> Defence:
    """The answers of one network with the gradients of another, which was never trained."""
    model, other = trained.mlp(), network(nn.ReLU, 9)
    return Defence(Defended(lambda x: passed(model(x), other(x)), model, other), [model])


def reversed_gradient(trained: Trained) -> Defence:
    """The network's answers, and the opposite of its gradients."""
    model = trained.mlp()
    return Defence(Defended(lambda x: passed(model(x), -model(x)), model), [model])


def rippled(trained: Trained) -> Defence:
    """A ripple on the input, too small to matter and so steep that it is all that a gradient sees."""
    model = trained.mlp()
    return Defence(Defended(lambda x: model(x + 0.003 * torch.sin(3000 * x)), model), [model])


def dead_zone(trained: Trained) -> Defence:
    """Pixels within a quarter of the middle of their range count as the middle: no gradient where most is decided."""
    model = trained.once("dead zone", lambda: learned(trained, nn.Sequential(_DeadZone(), network(nn.ReLU, 0))))
    inner = model[1]
    return Defence(model, [lambda x: inner(passed(_DeadZone()(x), x))])


class _DeadZone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        centred = x - 0.5
        return torch.where(centred.abs() < 0.25, torch.zeros_like(x), centred)


def median_filtered(trained: Trained) -> Defence:
    """Each pixel replaced by the median of its neighbourhood of 3 × 3."""

    def filtered(x: Tensor) -> Tensor:
        patches = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3)
        return patches.median(1).values.view_as(x)

    model = trained.once(
        "median", lambda: learned(trained, network(nn.ReLU, 0), loss=lambda m, x, y: F.cross_entropy(m(filtered(x)), y))
    )

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)

    return Defence(Defended(lambda x: model(filtered(x)), model), [lambda x: model(passed(filtered(x), mean(x)))])


def kernels(trained: Trained) -> Defence:
    """A sum of narrow kernels around training images, trained as a classifier: far from all of them nothing is left."""
    centres = trained.train_x[:600].flatten(1)

    def features(x: Tensor, width: float = 0.25) -> Tensor:
        return torch.exp(-torch.cdist(x.flatten(1), centres).square() / (2 * width * 8))

    layer = nn.Linear(600, 10)
    learned(trained, layer, loss=lambda m, x, y: F.cross_entropy(20 * m(features(x)), y), epochs=25)
    layer.requires_grad_(False)
    return Defence(
        Defended(lambda x: layer(features(x)), layer),
        [lambda x: 20 * layer(features(x)), lambda x: layer(features(x, 0.7))],
    )


def noisy_input(std: float, view: str, trained: Trained) -> Defence:
    """Gaussian noise on the pixels, of a network that was trained with it."""

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x + std * torch.randn_like(x)), y)

    model = trained.once(f"noisy {std}", lambda: learned(trained, network(nn.ReLU, 0), loss=loss))
    return Defence(Defended(lambda x: model(x + std * torch.randn_like(x)), model), [model], noisy=True, view=view)


def dropout(trained: Trained) -> Defence:
    """A third of the hidden units left out, in use as in training."""

    class Dropout(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return F.dropout(F.relu(z), 0.3)

    model = trained.once("dropout", lambda: learned(trained, network(Dropout, 0), epochs=25))
    return Defence(Defended(model, model), noisy=True, view="fresh")


def shifted(trained: Trained) -> Defence:
    """Each image moved by up to a pixel each way at random."""

    def moved(x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 1, 1, 1))
        rows, columns = (torch.randint(3, (len(x), 1)) + torch.arange(8) for _ in range(2))
        everyone = torch.arange(len(x))
        return padded[everyone[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]

    model = trained.once(
        "shifted",
        lambda: learned(trained, network(nn.ReLU, 0), epochs=40, loss=lambda m, x, y: F.cross_entropy(m(moved(x)), y)),
    )
    return Defence(Defended(lambda x: model(moved(x)), model), noisy=True, view="fresh")


def dithered(trained: Trained) -> Defence:
    """Rounded to four levels after noise of half a level."""
    model = trained.mlp()

    def answer(x: Tensor, *, soft: bool = False) -> Tensor:
        dither = x + (torch.rand_like(x) - 0.5) / 3
        rounded = (3 * dither).round() / 3
        return model(passed(rounded, dither) if soft else rounded)

    return Defence(Defended(answer, model), [lambda x: answer(x, soft=True)], noisy=True, view="fresh")
