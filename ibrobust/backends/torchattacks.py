"""Through torchattacks (Kim 2020).

What it does otherwise than its settings say, and what is done about it here:

- Its defaults give PGD 10 steps of 2/255 whatever the radius; it is given the protocol's steps, which cross the ball.
- DeepFool goes through the batch one image at a time, with one backward pass per class, and always steps in L2; for
  L∞ its images are measured in L∞, which is no smaller than what an L∞ step would need. It has no `candidates`.
- FGSM and BIM are L∞ only; in L2 they are its PGDL2 with the same steps and no random start.
- The PGDL2 random start is uniform in the radius, as ours.
- FAB in its `perturb` keeps the first target that falls within the radius, not the nearest: here every target is
  run through `attack_single_run_targeted` and the nearest image is kept, so one run serves every radius.
- The targeted DLR loss needs four classes or more.
- Square in L2 fails on images of fewer than 5 × 5 pixels.
- Its AutoAttack runs APGD and FAB for 10 steps, not the 100 of Croce & Hein; here they get the protocol's.
"""

import torchattacks

from ibrobust.backends.adapter import Adapter, Call, PeerAttack, nearest_of_targets
from ibrobust.types import Images

_NORM = {"linf": "Linf", "l2": "L2"}


def _gradient_ascent(call: Call) -> Images:
    assert call.eps is not None
    settings = call.settings
    attack = torchattacks.PGD if call.norm == "linf" else torchattacks.PGDL2
    run = attack(
        call.model,
        eps=call.eps,
        alpha=settings["step"] * call.eps,
        steps=settings["steps"],
        random_start=settings["random_start"],
    )
    return _images(run, call)


def _fgsm(call: Call) -> Images:
    return _images(torchattacks.FGSM(call.model, eps=call.eps), call)


def _bim(call: Call) -> Images:
    assert call.eps is not None
    alpha = call.settings["step"] * call.eps
    return _images(torchattacks.BIM(call.model, eps=call.eps, alpha=alpha, steps=call.settings["steps"]), call)


def _deepfool(call: Call) -> Images:
    settings = call.settings
    return _images(torchattacks.DeepFool(call.model, steps=settings["steps"], overshoot=settings["overshoot"]), call)


def _apgd(call: Call) -> Images:
    settings = call.settings
    attack = torchattacks.APGD(
        call.model,
        norm=_NORM[call.norm],
        eps=call.eps,
        steps=settings["steps"],
        n_restarts=settings["restarts"],
        seed=call.seed,
        loss={"cross-entropy": "ce", "dlr": "dlr"}[settings["loss"]],
    )
    return _images(attack, call)


def _apgd_t(call: Call) -> Images:
    settings = call.settings
    attack = torchattacks.APGDT(
        call.model,
        norm=_NORM[call.norm],
        eps=call.eps,
        steps=settings["steps"],
        n_restarts=settings["restarts"],
        seed=call.seed,
        n_classes=1 + min(settings["targets"], call.classes - 1),
    )
    return _images(attack, call)


def _square(call: Call) -> Images:
    settings = call.settings
    attack = torchattacks.Square(
        call.model,
        norm=_NORM[call.norm],
        eps=call.eps,
        n_queries=settings["queries"],
        n_restarts=settings["restarts"],
        p_init=settings["area"],
        seed=call.seed,
    )
    return _images(attack, call)


def _fab_t(call: Call) -> Images:
    settings = call.settings
    attack = torchattacks.FAB(
        call.model,
        norm=_NORM[call.norm],
        steps=settings["steps"],
        multi_targeted=True,
        n_classes=1 + min(settings["targets"], call.classes - 1),
        seed=call.seed,
    )

    def towards(target: int) -> Images:
        attack.target_class = target
        x_adv: Images = attack.attack_single_run_targeted(call.x, call.y)
        return x_adv

    return nearest_of_targets(call, towards, attack.n_target_classes)


def _images(attack: torchattacks.attack.Attack, call: Call) -> Images:
    x_adv: Images = attack(call.x, call.y)
    return x_adv


_L2_STEP = PeerAttack(_deepfool, deviation="steps in L2 whatever the norm; all classes are candidates")
_AS_PGD = "run as its PGDL2 without a random start"

ADAPTER = Adapter(
    {
        ("fgsm", "linf"): PeerAttack(_fgsm),
        ("fgsm", "l2"): PeerAttack(_gradient_ascent, deviation=_AS_PGD),
        ("bim", "linf"): PeerAttack(_bim),
        ("bim", "l2"): PeerAttack(_gradient_ascent, deviation=_AS_PGD),
        ("pgd", "linf"): PeerAttack(_gradient_ascent),
        ("pgd", "l2"): PeerAttack(_gradient_ascent),
        ("deepfool", "linf"): _L2_STEP,
        ("deepfool", "l2"): PeerAttack(_deepfool, deviation="all classes are candidates"),
        **{(name, norm): PeerAttack(_apgd) for name in ("apgd-ce", "apgd-dlr") for norm in _NORM},
        **{("apgd-t", norm): PeerAttack(_apgd_t) for norm in _NORM},
        **{("fab-t", norm): PeerAttack(_fab_t) for norm in _NORM},
        **{("square", norm): PeerAttack(_square) for norm in _NORM},
    }
)
