"""Tail probabilities of Student's t and Fisher's F: how often chance alone would give as extreme a figure."""

from scipy.special import fdtrc, stdtr


def two_sided_t(t: float, degrees_of_freedom: int) -> float:
    """Return the probability that a Student t variable with these degrees of freedom (>= 1) is at least |t| from 0."""
    return 2.0 * float(stdtr(degrees_of_freedom, -abs(t)))


def upper_f(f: float, model_degrees_of_freedom: int, residual_degrees_of_freedom: int) -> float:
    """Return the probability that an F variable with these degrees of freedom (each >= 1) is at least f (>= 0)."""
    return float(fdtrc(model_degrees_of_freedom, residual_degrees_of_freedom, f))
