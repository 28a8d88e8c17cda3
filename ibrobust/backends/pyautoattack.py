"""Through pyautoattack, the code of AutoAttack's authors (Croce & Hein 2020) as a package.

Its attacks are those of the AutoAttack paper, step for step, and it has none of the four of `paper`. What it does
otherwise than it is told, and what is done about it here:

- APGD counts rises of the loss from a row that is not filled yet, so that at the first checkpoint the first step counts
  as one where the loss is above 0; the paper compares with the start.
- In L1, APGD begins with balls of three and two radii (Croce & Hein 2021), which ours leaves out.
- FAB in its `perturb` keeps the first target that falls within the radius, not the nearest: here every target is run
  through `attack_single_run` and the nearest image is kept, so one run serves every radius.
- Square's patches shrink after as many queries as in a run of 10,000, whatever it is given, and never lie on the last
  row or column. In L2 it fails on images of fewer than 5 × 5 pixels.
- The targeted DLR loss needs four classes or more.
"""

import logging
from collections.abc import Callable
from functools import partial

from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack

from ibrobust.backends.adapter import Adapter, Call, PeerAttack, nearest_of_targets
from ibrobust.types import Images

_NORM = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_UNHEARD = logging.getLogger(__name__)
"""Where it says that gradients are zero, which the audit says of every model."""
_UNHEARD.addHandler(logging.NullHandler())


def _apgd(call: Call) -> Images:
    loss = {"cross-entropy": "ce", "dlr": "dlr"}[call.settings["loss"]]
    return _climbed(partial(APGDAttack, loss=loss), call)


def _apgd_t(call: Call) -> Images:
    return _climbed(
        partial(APGDAttack_targeted, n_target_classes=min(call.settings["targets"], call.classes - 1)), call
    )


def _climbed(make: Callable[..., APGDAttack], call: Call) -> Images:
    attack = make(
        call.model,
        norm=_NORM[call.norm],
        eps=call.eps,
        n_iter=call.settings["steps"],
        n_restarts=call.settings["restarts"],
        seed=call.seed,
        use_largereps=call.norm == "l1",
        logger=_UNHEARD,
    )
    x_adv: Images = attack.perturb(call.x, call.y)
    return x_adv


def _square(call: Call) -> Images:
    attack = SquareAttack(
        call.model,
        norm=_NORM[call.norm],
        eps=call.eps,
        n_queries=call.settings["queries"],
        n_restarts=call.settings["restarts"],
        p_init=call.settings["area"],
        seed=call.seed,
        resc_schedule=False,
    )
    x_adv: Images = attack.perturb(call.x, call.y)
    return x_adv


def _fab_t(call: Call) -> Images:
    targets = min(call.settings["targets"], call.classes - 1)
    attack = FABAttack_PT(
        call.model,
        norm=_NORM[call.norm],
        n_iter=call.settings["steps"],
        seed=call.seed,
        device=call.x.device,
        n_target_classes=targets,
    )

    def towards(target: int) -> Images:
        attack.target_class = target
        x_adv: Images = attack.attack_single_run(call.x, call.y, is_targeted=True)
        return x_adv

    return nearest_of_targets(call, towards, targets)


_SHRINKS = PeerAttack(_square, deviation="patches shrink as in a run of 10,000 queries")
_LARGER_FIRST = "begins with three and two radii"

ADAPTER = Adapter(
    {
        **{(name, norm): PeerAttack(_apgd) for name in ("apgd-ce", "apgd-dlr") for norm in ("linf", "l2")},
        **{("apgd-t", norm): PeerAttack(_apgd_t) for norm in ("linf", "l2")},
        **{(name, "l1"): PeerAttack(_apgd, deviation=_LARGER_FIRST) for name in ("apgd-ce", "apgd-dlr")},
        ("apgd-t", "l1"): PeerAttack(_apgd_t, deviation=_LARGER_FIRST),
        **{("fab-t", norm): PeerAttack(_fab_t) for norm in _NORM},
        **{("square", norm): _SHRINKS for norm in _NORM},
    }
)
