"""Every registered architecture: shapes, seeds, gradients, and samples that do not see their neighbours."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ibrobust.errors import BadInput
from ibrobust.models import MODELS, architecture, build_model
from ibrobust.models.bottleneck import Bottleneck, view
from ibrobust.models.categorical import table_of
from ibrobust.models.noise import LatentNoise
from ibrobust.models.stochastic import BatchNorm2d, DropConnectConv2d, Dropout, learning, noise_in_layers
from ibrobust.randomness import GeneratorNoise, sample_draw

SHAPES = {name: (1, 16, 16) for name in MODELS if name.startswith(("resnet", "dropout"))}


def untrained(name: str, seed: int = 0) -> Bottleneck:
    return build_model(
        architecture(name),
        shape=SHAPES.get(name, (1, 28, 28)),
        classes=10,
        latent=16,
        noise=LatentNoise(0.24),
        seed=seed,
    )


def images(name: str, count: int) -> torch.Tensor:
    return torch.rand(count, *SHAPES.get(name, (1, 28, 28)), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    state = torch.random.get_rng_state()
    one, same, other = untrained(name, 1), untrained(name, 1), untrained(name, 2)
    assert torch.equal(torch.random.get_rng_state(), state), "torch's global generator is left alone"
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.decoder.weight, other.decoder.weight)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_sample_does_not_see_its_neighbours(name: str) -> None:
    model, x = untrained(name).eval(), images(name, 6)
    alone = torch.cat([model(image[None]) for image in x])
    torch.testing.assert_close(model(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_starts_near_chance_and_every_parameter_learns(name: str) -> None:
    model = untrained(name)
    y = torch.arange(20) % 10
    loss = cross_entropy(model(images(name, 20)), y)
    assert loss.item() == pytest.approx(math.log(10), abs=0.5)
    loss.backward()
    still = [
        label for label, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


def test_an_unknown_architecture_lists_the_known() -> None:
    with pytest.raises(BadInput, match=r"no model 'vgg'; choose from .*mlp"):
        untrained("vgg")


def parameters(encoder: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "features", "published"),
    [
        # The CIFAR form with ten outputs, as counted for the common PyTorch implementations.
        ("resnet18", (3, 32, 32), 10, 11_173_962),
        # torchvision's resnet18 with a thousand.
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        # The common implementation leaves out the batch norm after the last block (2 · 512), which He et al. have.
        ("resnet18v2", (3, 32, 32), 10, 11_171_146 + 2 * 512),
        # PyTorch's basic MNIST example.
        ("dropout-cnn", (1, 28, 28), 10, 1_199_882),
        # 784-1024-1024-10.
        ("mlp-1024", (1, 28, 28), 10, 785 * 1024 + 1025 * 1024 + 1025 * 10),
        # LeNet-5's 61,706 with 10 outputs.
        ("lenet", (1, 28, 28), 10, 61_706),
    ],
)
def test_as_many_parameters_as_published(name: str, shape: tuple[int, int, int], features: int, published: int) -> None:
    assert parameters(MODELS[name](shape, features)) == published


def test_resnet18_is_torchvisions_function() -> None:
    torchvision = pytest.importorskip("torchvision")
    ours = MODELS["resnet18"]((3, 65, 65), 7).eval()
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.shape == other.shape
        other.data.copy_(mine.data)
    x = torch.rand(1, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x))


def test_a_stem_for_small_images_keeps_their_size() -> None:
    small, large = (MODELS["resnet18v2"]((3, width, width), 10) for width in (32, 224))
    assert small[0](torch.zeros(1, 3, 32, 32)).shape[2:] == (32, 32)
    assert large[:2](torch.zeros(1, 3, 224, 224)).shape[2:] == (56, 56)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_one_batch_overfits(name: str) -> None:
    model = build_model(architecture(name), shape=(1, 12, 12), classes=10, latent=16, noise=LatentNoise(0.24))
    x = torch.rand(10, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    y, losses = torch.arange(10), [math.inf]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    while losses[-1] > 0.1 and len(losses) < 100:
        with learning():
            loss = cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] <= 0.1


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("dropout-cnn", {}),
        ("mlp-1024", {"dropout": 0.3}),
        ("resnet-mlp", {"dropout": 0.3}),
        ("resnet-small", {"dropconnect": 0.2}),
        ("resnet-small", {"dropout": 0.2}),
    ],
)
def test_layers_noise_is_a_stream_of_each_sample_and_off_on_the_mean_path(name: str, rates: dict[str, float]) -> None:
    model = build_model(architecture(name, **rates), shape=(1, 16, 16), classes=10, latent=8, noise=LatentNoise(0.0))
    x = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    draw = sample_draw(0, torch.arange(8))
    fresh = view(model, "fresh")
    answers = fresh(x, draw)
    torch.manual_seed(7)
    model.train()
    assert torch.equal(answers, fresh(x, draw))
    model.eval()
    assert torch.equal(answers, fresh(x, draw))
    torch.testing.assert_close(answers[4:], fresh(x[4:], draw[4:]))
    assert not torch.allclose(answers, fresh(x, draw.fold("again")))
    assert not torch.allclose(answers, model(x))
    same_image = fresh(x[:1].expand(8, -1, -1, -1), draw)
    assert len(same_image.unique(dim=0)) == 8, "no two samples share a mask"
    assert torch.equal(model(x), model(x))


def test_averaged_views_repeat_the_encoder_only_behind_the_first_noisy_layer() -> None:
    model = build_model(architecture("dropout-cnn"), shape=(1, 16, 16), classes=10, latent=8, noise=LatentNoise(0.3))
    x, draw = torch.rand(4, 1, 16, 16), sample_draw(0, torch.arange(4))
    calls = []
    model.encoder[0].register_forward_hook(lambda *_: calls.append(1))
    sampled = model.encodings(x, draw, 5)
    assert len(calls) == 1
    for i, encoding in enumerate(sampled):
        torch.testing.assert_close(encoding.z, model.encode(x, draw.fold(i)).z)


def test_a_training_batch_shares_dropconnects_masks_and_not_dropouts() -> None:
    noise = GeneratorNoise(torch.Generator().manual_seed(0), 64)
    convolution = DropConnectConv2d(1, 4, 3, rate=0.5, padding=1)
    x = torch.ones(64, 1, 8, 8)
    with noise_in_layers(noise):
        assert len(convolution(x).unique(dim=0)) == 1
        assert len(Dropout(0.5, shared=True)(x).unique(dim=0)) == 1
        assert len(Dropout(0.5)(x).unique(dim=0)) == 64


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_keep_the_mean_and_drop_the_stated_share(rate: float) -> None:
    with noise_in_layers(sample_draw(0, torch.arange(1000))):
        dropped = Dropout(rate)(torch.ones(1000, 1, 10, 10))
    # 100,000 coins: three standard errors are 0.005.
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)])


def test_batch_norm_looks_at_the_batch_while_learning_alone() -> None:
    norm, theirs = BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    x = 5 + 2 * torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    untouched = norm(x)
    torch.testing.assert_close(untouched, x, rtol=1e-4, atol=1e-4)  # statistics are still 0 and 1
    with learning():
        torch.testing.assert_close(norm(x), theirs(x))
    torch.testing.assert_close(norm.running_mean, theirs.running_mean)
    torch.testing.assert_close(norm(x), theirs.eval()(x))


def test_a_rate_that_a_model_has_no_place_for_is_refused() -> None:
    with pytest.raises(BadInput, match=r"dropconnect 0.1: model 'mlp' has no place for it; choose from resnet-small"):
        architecture("mlp", dropconnect=0.1)


def test_images_too_small_for_a_model_are_refused() -> None:
    with pytest.raises(BadInput, match=r"model lenet: cannot take images of 1 × 8 × 8: "):
        build_model(architecture("lenet"), shape=(1, 8, 8), classes=10, latent=4, noise=LatentNoise(0.0))


@pytest.mark.parametrize("decoder", ["network", "data"])
def test_a_categorical_latent_is_exact_on_the_mean_path_and_sampled_on_the_others(decoder: str) -> None:
    model = build_model(
        architecture("mlp"), shape=(1, 8, 8), classes=3, latent=5, noise=LatentNoise(0.0), decoder=decoder
    )
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    if decoder == "data":
        model.decoder.joint.copy_(torch.rand(5, 3, generator=torch.Generator().manual_seed(1)))
    p_z, table = model.encoder(x).softmax(1), table_of(model.decoder)
    torch.testing.assert_close(model(x).exp(), p_z @ table)
    many = x[:1].expand(4000, -1, -1, -1)
    z = model.encode(many, sample_draw(0, torch.arange(4000))).z
    assert torch.equal(z.sum(1), torch.ones(4000))
    # Four standard errors of a share of 4000 are at most 0.032.
    torch.testing.assert_close(z.mean(0), p_z[0], rtol=0, atol=0.032)
