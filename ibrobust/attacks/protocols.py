"""Which attacks a protocol consists of, cheapest first: an answer is where the next attack starts to look."""

from ibrobust.registry import Registry

PROTOCOLS: Registry[tuple[str, ...]] = Registry("protocol")
# Kirsch et al. §4 name these four; a sample counts as robust if it survives all of them.
PROTOCOLS["paper"] = ("fgsm", "deepfool", "bim", "pgd")
# And the four of AutoAttack (Croce & Hein 2020), its answer to overestimated robustness.
PROTOCOLS["strict"] = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "fab-t", "apgd-t", "square")
# For noisy models, with gradients averaged over draws: no attack that decides by single steps of its own luck.
PROTOCOLS["strict-rand"] = ("fgsm", "deepfool", "bim", "pgd", "apgd-ce", "apgd-dlr")
