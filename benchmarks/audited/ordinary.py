"""Models that hide nothing from anybody who computes with them, however they look: trained in some way, or rescaled."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.audited.defence import Defence, Defended, Trained, learned, network


def plain(trained: Trained) -> Defence:
    return Defence(trained.mlp())


def linear(trained: Trained) -> Defence:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return learned(trained, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))

    return Defence(trained.once("linear", make))


def convolutional(trained: Trained) -> Defence:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU())
    return Defence(learned(trained, nn.Sequential(*layers, nn.Flatten(), nn.Linear(24 * 16, 10)), epochs=6))


def softplus(trained: Trained) -> Defence:
    return Defence(learned(trained, network(nn.Softplus, 0)))


def tanh(trained: Trained) -> Defence:
    return Defence(learned(trained, network(nn.Tanh, 0)))


def sigmoid(trained: Trained) -> Defence:
    return Defence(learned(trained, network(nn.Sigmoid, 0), epochs=30))


def adversarially_trained(trained: Trained) -> Defence:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(_moved(model, x, y, 0.15)), y)

    return Defence(learned(trained, network(nn.ReLU, 0), loss=loss, epochs=25))


def jacobian_regularised(trained: Trained) -> Defence:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        logits = model(x)
        (jacobian,) = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), x, create_graph=True)
        return F.cross_entropy(logits, y) + 0.02 * jacobian.square().flatten(1).sum(1).mean()

    return Defence(learned(trained, network(nn.ReLU, 0), loss=loss))


def label_smoothed(trained: Trained) -> Defence:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x), y, label_smoothing=0.3)

    return Defence(learned(trained, network(nn.ReLU, 0), loss=loss))


def weight_decayed(trained: Trained) -> Defence:
    return Defence(learned(trained, network(nn.ReLU, 0), weight_decay=1.0))


def trained_on_noise(trained: Trained) -> Defence:
    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x + 0.2 * torch.randn_like(x)), y)

    return Defence(learned(trained, network(nn.ReLU, 0), loss=loss))


def ensemble(trained: Trained) -> Defence:
    members = [trained.mlp(seed) for seed in range(3)]

    def answer(x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in members]).mean(0)

    return Defence(Defended(answer, *members))


def ensemble_of_probabilities(trained: Trained) -> Defence:
    members = [trained.mlp(seed) for seed in range(3)]

    def answer(x: Tensor) -> Tensor:
        return torch.stack([member(x).softmax(1) for member in members]).mean(0)

    def logits(x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in members]).mean(0)

    return Defence(Defended(answer, *members), [logits, lambda x: answer(x).log()])


def rescaled(scale: float, trained: Trained) -> Defence:
    model = trained.mlp()
    return Defence(Defended(lambda x: scale * model(x), model), [model])


def distilled(temperature: float, trained: Trained) -> Defence:
    """Trained on the soft probabilities of another network at this temperature, used at 1 (Papernot et al. 2016)."""

    def make() -> nn.Module:
        def at_temperature(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(model(x) / temperature, y)

        teacher = learned(trained, network(nn.ReLU, 1), loss=at_temperature, epochs=30).requires_grad_(False)

        def loss(model: nn.Module, x: Tensor, _y: Tensor) -> Tensor:
            return F.cross_entropy(model(x) / temperature, (teacher(x) / temperature).softmax(1))

        return learned(trained, network(nn.ReLU, 0), loss=loss, epochs=40)

    model = trained.once(f"distilled {temperature}", make)
    return Defence(model, [lambda x: model(x) / temperature])


def probabilities(trained: Trained) -> Defence:
    model = trained.mlp()
    return Defence(Defended(lambda x: (4 * model(x)).softmax(1), model), [model])


def centred_on_the_largest(trained: Trained) -> Defence:
    """Log probabilities at a temperature of a hundredth: of all classes but the first the gradient underflows."""
    model = trained.mlp()
    return Defence(Defended(lambda x: (100 * model(x)).log_softmax(1), model), [model])


def low_precision(trained: Trained) -> Defence:
    """Computed in bfloat16: logits of eight bits, gradients of the same network."""
    model = trained.mlp()
    half = trained.once("bfloat16", lambda: _copied(trained).to(torch.bfloat16))
    return Defence(Defended(lambda x: half(x.to(torch.bfloat16)).float(), half), [model])


def _copied(trained: Trained) -> nn.Module:
    model = network(nn.ReLU, 0)
    model.load_state_dict(trained.mlp().state_dict())
    return model


def _moved(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    x_adv = x + eps * (2 * torch.rand_like(x) - 1)
    for _ in range(4):
        at = x_adv.clamp(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(at), y), at)
        x_adv = (at.detach() + eps / 2 * gradient.sign()).clamp(x - eps, x + eps)
    return x_adv.clamp(0, 1)
