"""Through the Adversarial Robustness Toolbox (Nicolae et al. 2018).

What it does otherwise than its settings say, and what is done about it here:

- DeepFool always steps in L2 (for L∞ its images are measured in L∞), and stretches by the overshoot once, at the
  end. It attacks what the model predicts; only samples with the right prediction reach it. A number of candidates
  below the number of classes makes it loop over the classes of the whole batch, which is slower: it gets them all.
- Its AutoAttack has no targeted DLR loss and no FAB: it lacks APGD-T and FAB-T. Its APGD starts at 2 ε like Croce &
  Hein's, but takes the cross-entropy of one point more per step.
- Square fails on images of fewer than some 5 × 5 pixels, and divides by zero on 8 × 8 ones in L2.
- It works in numpy on the host and moves every batch to the model and back.
- PGD scores its own success after every call: one more forward pass per sample, which is counted.
"""

import numpy as np
import torch
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    DeepFool,
    FastGradientMethod,
    ProjectedGradientDescent,
    SquareAttack,
)
from art.estimators.classification import PyTorchClassifier
from numpy.typing import NDArray
from torch import nn

from ibrobust.backends.adapter import Adapter, Call, PeerAttack
from ibrobust.types import Images

_NORM = {"linf": np.inf, "l2": 2}


def _fgsm(call: Call) -> Images:
    return _images(
        FastGradientMethod(_classifier(call), norm=_NORM[call.norm], eps=call.eps, batch_size=len(call.x)), call
    )


def _gradient_ascent(call: Call) -> Images:
    assert call.eps is not None
    attack = ProjectedGradientDescent(
        _classifier(call),
        norm=_NORM[call.norm],
        eps=call.eps,
        eps_step=call.settings["step"] * call.eps,
        max_iter=call.settings["steps"],
        num_random_init=int(call.settings["random_start"]),
        batch_size=len(call.x),
        verbose=False,
    )
    return _images(attack, call)


def _deepfool(call: Call) -> Images:
    attack = DeepFool(
        _classifier(call),
        max_iter=call.settings["steps"],
        epsilon=call.settings["overshoot"],
        nb_grads=call.classes,
        batch_size=len(call.x),
        verbose=False,
    )
    return _images(attack, call)


def _apgd_ce(call: Call) -> Images:
    assert call.eps is not None
    attack = AutoProjectedGradientDescent(
        _classifier(call),
        norm=_NORM[call.norm],
        eps=call.eps,
        eps_step=2 * call.eps,
        max_iter=call.settings["steps"],
        nb_random_init=call.settings["restarts"],
        batch_size=len(call.x),
        loss_type="cross_entropy",
        verbose=False,
    )
    return _images(attack, call)


def _square(call: Call) -> Images:
    attack = SquareAttack(
        _classifier(call),
        norm=_NORM[call.norm],
        eps=call.eps,
        max_iter=call.settings["queries"],
        p_init=call.settings["area"],
        nb_restarts=call.settings["restarts"],
        batch_size=len(call.x),
        verbose=False,
    )
    return _images(attack, call)


def _classifier(call: Call) -> PyTorchClassifier:
    return PyTorchClassifier(
        call.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(call.x.shape[1:]),
        nb_classes=call.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if call.x.device.type == "cpu" else "gpu",
    )


def _images(attack: object, call: Call) -> Images:
    x_adv: NDArray[np.float32] = attack.generate(call.x.cpu().numpy(), y=call.y.cpu().numpy())  # type: ignore[attr-defined]
    return torch.from_numpy(np.asarray(x_adv, dtype=np.float32))


_ALL_CLASSES = "all classes are candidates"

ADAPTER = Adapter(
    {
        **{("fgsm", norm): PeerAttack(_fgsm) for norm in _NORM},
        **{(name, norm): PeerAttack(_gradient_ascent) for name in ("bim", "pgd") for norm in _NORM},
        **{("apgd-ce", norm): PeerAttack(_apgd_ce) for norm in _NORM},
        **{("square", norm): PeerAttack(_square) for norm in _NORM},
        ("deepfool", "linf"): PeerAttack(_deepfool, deviation=f"steps in L2 whatever the norm; {_ALL_CLASSES}"),
        ("deepfool", "l2"): PeerAttack(_deepfool, deviation=_ALL_CLASSES),
    }
)
