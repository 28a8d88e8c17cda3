"""The paper's quantities of a categorical latent, enumerated: nothing is estimated (Kirsch et al. §B.2, §E)."""

import torch
from jaxtyping import Float
from torch import Tensor


def exact_quantities(
    joint_XY: Float[Tensor, "inputs classes"], encoder_XZ: Float[Tensor, "inputs categories"]
) -> dict[str, float]:
    """Every quantity of the I-diagram in nats.

    Args:
        joint_XY: p(x, y); 1/N at (i, y_i) for N labelled samples.
        encoder_XZ: p(z|x).
    """
    joint_XY, encoder_XZ = joint_XY.double(), encoder_XZ.double()
    p_X, p_Y = joint_XY.sum(dim=1), joint_XY.sum(dim=0)
    joint_YZ = joint_XY.T @ encoder_XZ
    label, encoding = _entropy(p_Y), _entropy(joint_YZ.sum(dim=0))
    label_given_input = _entropy(joint_XY) - _entropy(p_X)
    encoding_given_input = float(-torch.special.xlogy(encoder_XZ, encoder_XZ).sum(dim=1) @ p_X)
    decoder_uncertainty = _entropy(joint_YZ) - encoding
    reverse_decoder_uncertainty = _entropy(joint_YZ) - label
    return {
        "label_entropy": label,
        "label_entropy_given_input": label_given_input,
        "encoding_entropy": encoding,
        "encoding_entropy_given_input": encoding_given_input,
        "decoder_uncertainty": decoder_uncertainty,
        "reverse_decoder_uncertainty": reverse_decoder_uncertainty,
        "relevant_information": label - label_given_input,
        "preserved_information": encoding - encoding_given_input,
        "preserved_relevant_information": label - decoder_uncertainty,
        "redundant_information": reverse_decoder_uncertainty - encoding_given_input,
        "residual_information": decoder_uncertainty - label_given_input,
    }


def _entropy(probability: Float[Tensor, "..."]) -> float:
    """−Σ p ln p."""
    return float(-torch.special.xlogy(probability, probability).sum())
