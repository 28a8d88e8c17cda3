"""Through torchattacks (Kim 2020).

What it does otherwise than asked, and what is done about it here:

- Its defaults give PGD 10 steps of 2/255 whatever the radius; it is given the protocol's steps, which cross the ball.
- DeepFool goes through the batch one image at a time, with one backward pass per class, and always steps in L2; for
  L∞ its images are measured in L∞, which is no smaller than what an L∞ step would need. It has no `candidates`.
- FGSM and BIM are L∞ only; in L2 they are its PGDL2 with the same steps and no random start.
- The PGDL2 random start is uniform in the radius, as ours.
"""

import torchattacks

from ibrobust.backends.adapter import Adapter, Call, PeerAttack
from ibrobust.types import Images


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
    }
)
