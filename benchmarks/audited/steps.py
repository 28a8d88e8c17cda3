"""Models whose answer goes in steps: rounded somewhere, voted, looked up. Their gradients are zero or of little use."""

import math

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import Tensor, nn

from benchmarks.audited.defence import Defence, Defended, Function, Trained, learned, network, passed


def quantised_input(levels: int, trained: Trained) -> Defence:
    model = trained.mlp()
    steps = levels - 1

    def answer(x: Tensor) -> Tensor:
        return model((steps * x).round() / steps)

    return Defence(
        Defended(answer, model), [model, lambda x: model(passed((steps * x).round() / steps, x))], moves=_corners
    )


def straight_through(trained: Trained) -> Defence:
    """Rounds its input to four levels, but lets the gradient through as if it did not."""
    model = trained.mlp()

    def answer(x: Tensor) -> Tensor:
        return model(passed((3 * x).round() / 3, x))

    return Defence(Defended(answer, model), [model, answer], moves=_corners)


def jpeg_like(trained: Trained) -> Defence:
    """The cosine transform of the image, rounded to steps of 0.5 at low and 1 at high frequencies."""
    model = trained.mlp()
    index = torch.arange(8, dtype=torch.float32)
    basis = (
        torch.cos(math.pi * (2 * index[None] + 1) * index[:, None] / 16)
        * torch.where(index > 0, 1, 0.5**0.5)[:, None]
        / 2
    )
    size = torch.where(index[:, None] + index[None] < 4, 0.5, 1.0)

    def answer(x: Tensor, *, soft: bool = False) -> Tensor:
        coefficients = basis @ x @ basis.T
        rounded = (coefficients / size).round() * size
        if soft:
            rounded = passed(rounded, coefficients)
        return model(basis.T @ rounded @ basis)

    return Defence(Defended(answer, model), [lambda x: answer(x, soft=True), model])


def thermometer(trained: Trained) -> Defence:
    """Each pixel as eight flags, on where it is above a threshold (Buckman et al. 2018)."""
    thresholds = torch.arange(0.5, 8) / 8

    def coded(x: Tensor, *, soft: bool = False) -> Tensor:
        above = x.flatten(1)[:, :, None] - thresholds
        hard = (above > 0).float()
        return (passed(hard, torch.sigmoid(12 * above)) if soft else hard).flatten(1)

    def make() -> nn.Module:
        return learned(
            trained, network(nn.ReLU, 0, inputs=512), loss=lambda m, x, y: nn.functional.cross_entropy(m(coded(x)), y)
        )

    model = trained.once("thermometer", make)
    return Defence(Defended(lambda x: model(coded(x)), model), [lambda x: model(coded(x, soft=True))], moves=_corners)


def binarised_linear(trained: Trained) -> Defence:
    """A linear layer on pixels that are above a half or not: each that can be switched can be switched alone, so that
    the truth is exact."""

    def make() -> nn.Module:
        layer = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        return learned(trained, layer, loss=lambda m, x, y: nn.functional.cross_entropy(m((x > 0.5).float()), y))

    model = trained.once("binarised", make)

    def exact(x: Tensor, y: Tensor, eps: float) -> Tensor:
        flat = x.flatten(1)
        low, high = ((flat - eps).clamp(0, 1) > 0.5).float(), ((flat + eps).clamp(0, 1) > 0.5).float()
        weight, bias = model[1].weight, model[1].bias
        gaps = weight[None] - weight[y][:, None]
        best = torch.where(gaps > 0, gaps * high[:, None], gaps * low[:, None]).sum(2) + bias - bias[y][:, None]
        return best.scatter(1, y[:, None], -torch.inf).amax(1) < 0

    return Defence(Defended(lambda x: model((x > 0.5).float()), model), [model], exact=exact, moves=_corners)


def rounded_logits(trained: Trained) -> Defence:
    model = trained.mlp()
    return Defence(Defended(lambda x: model(x).round(), model), [model])


def clipped_logits(trained: Trained) -> Defence:
    model = trained.mlp()
    return Defence(Defended(lambda x: model(x).clamp(-2, 2) + 1e-3 * model(x).detach(), model), [model])


def winners(trained: Trained) -> Defence:
    """Of each hidden layer the twelfth of its units that are largest (k-winners-take-all, Xiao et al. 2020)."""

    class Winners(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            count = max(1, z.shape[1] // 12)
            least = z.topk(count, dim=1).values[:, -1:]
            return z * (z >= least)

    model = trained.once("winners", lambda: learned(trained, network(Winners, 0), epochs=40))

    def softer(x: Tensor) -> Tensor:
        z = x
        for layer in model:
            if isinstance(layer, Winners):
                least = z.topk(max(1, z.shape[1] // 12), dim=1).values[:, -1:]
                gate = torch.sigmoid(3 * (z - least) / z.std(1, keepdim=True))
                z = passed(z * (z >= least), z * gate)
            else:
                z = layer(z)
        return z

    def averaged(x: Tensor) -> Tensor:
        return torch.stack([model(x + 0.05 * torch.randn_like(x)) for _ in range(16)]).mean(0)

    return Defence(model, [softer, averaged])


def hard_votes(trained: Trained) -> Defence:
    members = [trained.mlp(seed) for seed in range(5)]

    def answer(x: Tensor) -> Tensor:
        return torch.stack([nn.functional.one_hot(member(x).argmax(1), 10) for member in members]).float().mean(0)

    def logits(x: Tensor) -> Tensor:
        return torch.stack([member(x).log_softmax(1) for member in members]).mean(0)

    def soft(x: Tensor) -> Tensor:
        return torch.stack([member(x).softmax(1) for member in members]).mean(0)

    return Defence(Defended(answer, *members), [logits, soft, *members])


def signs(trained: Trained) -> Defence:
    """Hidden units of −1 and 1, trained straight through."""

    class Sign(nn.Module):
        soft = True

        def forward(self, z: Tensor) -> Tensor:
            hard = torch.where(z > 0, 1.0, -1.0)
            return passed(hard, torch.tanh(z)) if self.soft else hard

    model = trained.once("signs", lambda: learned(trained, network(Sign, 0), epochs=25))

    def answer(x: Tensor, *, soft: bool = False) -> Tensor:
        for layer in model:
            if isinstance(layer, Sign):
                layer.soft = soft
        return model(x)

    return Defence(Defended(answer, model), [lambda x: answer(x, soft=True)])


def nearest_neighbour(trained: Trained) -> Defence:
    """The class of the nearest training image; logits are the squared distances to the nearest of each class."""
    images, labels = trained.train_x.flatten(1), trained.train_y

    def answer(x: Tensor) -> Tensor:
        distance = torch.cdist(x.flatten(1), images, compute_mode="donot_use_mm_for_euclid_dist").square()
        return -torch.stack([distance[:, labels == k].amin(1) for k in range(10)], 1)

    return Defence(Defended(answer), moves=lambda x, y, eps: _towards(trained, x, y, eps))


def neighbours_vote(trained: Trained) -> Defence:
    """How many of the seven nearest training images are of each class."""
    images, labels = trained.train_x.flatten(1), trained.train_y
    one_hot = nn.functional.one_hot(labels, 10).float()

    def distances(x: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1), images, compute_mode="donot_use_mm_for_euclid_dist").square()

    def answer(x: Tensor) -> Tensor:
        return one_hot[distances(x).topk(7, largest=False).indices].sum(1)

    def soft(x: Tensor) -> Tensor:
        return torch.log((-distances(x) / 0.5).softmax(1) @ one_hot + 1e-30)

    def softer(x: Tensor) -> Tensor:
        return torch.log((-distances(x) / 2).softmax(1) @ one_hot + 1e-30)

    return Defence(Defended(answer), [soft, softer], moves=lambda x, y, eps: _towards(trained, x, y, eps))


def forest(trained: Trained) -> Defence:
    """A random forest, asked outside of torch; somebody who knows it climbs a network trained on its answers."""
    trees = RandomForestClassifier(40, max_depth=8, random_state=0, n_jobs=1)
    trees.fit(trained.train_x.flatten(1).numpy(), trained.train_y.numpy())

    def answer(x: Tensor) -> Tensor:
        return torch.from_numpy(trees.predict_proba(x.detach().flatten(1).numpy()).astype(np.float32))

    def make() -> nn.Module:
        def loss(model: nn.Module, x: Tensor, _y: Tensor) -> Tensor:
            x = (x + 0.3 * (2 * torch.rand_like(x) - 1)).clamp(0, 1)
            return nn.functional.cross_entropy(model(x), answer(x))

        return learned(trained, network(nn.Softplus, 3), loss=loss, epochs=60)

    student = trained.once("student", make)
    return Defence(Defended(answer), [student], moves=lambda x, y, eps: _by_pixels(answer, x, y, eps))


def _corners(x: Tensor, _y: Tensor, eps: float) -> list[Tensor]:
    return [(x + eps).clamp(0, 1), (x - eps).clamp(0, 1)]


def _towards(trained: Trained, x: Tensor, y: Tensor, eps: float) -> list[Tensor]:
    """As far as the ball allows towards, and beyond, each of the nearest forty images of other classes."""
    distance = torch.cdist(x.flatten(1), trained.train_x.flatten(1))
    distance = distance.masked_fill(trained.train_y[None] == y[:, None], torch.inf)
    own = torch.cdist(x.flatten(1), trained.train_x.flatten(1)).masked_fill(
        trained.train_y[None] != y[:, None], torch.inf
    )
    away = trained.train_x[own.argmin(1)]
    found = []
    for place in distance.topk(40, largest=False).indices.T:
        goal = trained.train_x[place]
        found += [x + (goal - x).clamp(-eps, eps), (x + eps * torch.sign(goal - away)).clamp(0, 1)]
    return found


def _by_pixels(answer: Function, x: Tensor, y: Tensor, eps: float) -> list[Tensor]:
    """Pixel by pixel to either end of its range, wherever that lowers the label's lead, twice over, from several
    starts."""
    starts = [x, (x + eps).clamp(0, 1), (x - eps).clamp(0, 1)]
    return [_descended(answer, start, x, y, eps) for start in starts]


def _descended(answer: Function, start: Tensor, x: Tensor, y: Tensor, eps: float) -> Tensor:
    def lead(images: Tensor) -> Tensor:
        shares = answer(images)
        return shares.gather(1, y[:, None]).squeeze(1) - shares.scatter(1, y[:, None], -torch.inf).amax(1)

    best = start.clone()
    value = lead(best)
    for pixel in [*range(64)] * 2:
        for end in (-eps, 0.0, eps):
            tried = best.clone()
            tried.flatten(1)[:, pixel] = (x.flatten(1)[:, pixel] + end).clamp(0, 1)
            now = lead(tried)
            better = now < value
            best[better], value = tried[better], torch.where(better, now, value)
    return best
