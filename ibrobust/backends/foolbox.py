"""Through foolbox (Rauber et al. 2017, 2020).

It runs every step on every sample of a batch: nothing leaves early. Its DeepFool asks the model again for every
candidate class, and its `candidates` count the predicted class too, so ours plus one is the same search.
"""

import warnings

import torch

from ibrobust.backends.adapter import Adapter, Call, PeerAttack
from ibrobust.types import Images

with warnings.catch_warnings():
    # It still asks scipy for a namespace that scipy has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from foolbox.attacks.basic_iterative_method import L2BasicIterativeAttack, LinfBasicIterativeAttack
    from foolbox.attacks.deepfool import L2DeepFoolAttack, LinfDeepFoolAttack
    from foolbox.models.pytorch import PyTorchModel

_DESCENT = {"linf": LinfBasicIterativeAttack, "l2": L2BasicIterativeAttack}
_DEEPFOOL = {"linf": LinfDeepFoolAttack, "l2": L2DeepFoolAttack}


def _gradient_ascent(call: Call) -> Images:
    attack = _DESCENT[call.norm](
        rel_stepsize=call.settings["step"], steps=call.settings["steps"], random_start=call.settings["random_start"]
    )
    return _run(attack, call)


def _deepfool(call: Call) -> Images:
    attack = _DEEPFOOL[call.norm](
        steps=call.settings["steps"],
        candidates=call.settings["candidates"] + 1,
        overshoot=call.settings["overshoot"],
    )
    return _run(attack, call)


def _run(attack: object, call: Call) -> Images:
    model = PyTorchModel(call.model, bounds=(0, 1), device=call.x.device)
    raw, _clipped, _its_word = attack(model, call.x, call.y, epsilons=call.eps)  # type: ignore[operator]
    assert isinstance(raw, torch.Tensor)
    return raw


_FUNCTIONS = {"fgsm": _gradient_ascent, "bim": _gradient_ascent, "pgd": _gradient_ascent, "deepfool": _deepfool}

ADAPTER = Adapter({(name, norm): PeerAttack(run) for name, run in _FUNCTIONS.items() for norm in _DESCENT})
