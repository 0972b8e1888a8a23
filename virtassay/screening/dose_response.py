"""Potency: the dose at which half of an effect is reached."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import curve_fit

NAN = float("nan")
STEEPEST = 5.0  # Hill coefficients of real curves are below it
FEWEST_DOSES = 4


@dataclass(frozen=True)
class HillFit:
    """A fitted curve: ec50_um with its 95 % interval, top, slope h, r2, and in words why it should not be trusted."""

    ec50_um: float = NAN
    lower: float = NAN
    upper: float = NAN
    top: float = NAN
    slope: float = NAN
    r2: float = NAN
    warning: str = ""


def hill(dose_um: ArrayLike, response: ArrayLike, error: ArrayLike) -> HillFit:
    """Fit response(z) = top / (1 + (EC50/z)^h), 0 without the compound, by least squares weighted by 1/error².

    The interval is ± 1.96 standard errors of log EC50 in the linearised fit. Source: Hill 1910; Gesztelyi et al. 2012
    (doi 10.1007/s00407-012-0098-5). dose_um (n,) > 0, response and error (n,). NaN, with a warning, for fewer than four
    doses, where no dose has an effect of more than twice its error, and where the fit fails; a warning where EC50 lies
    outside the doses, for it is then extrapolated, and where the effect has no plateau among them.
    Raises ValueError for doses that are not positive.
    """
    z, y, s = (np.asarray(x, np.float64) for x in (dose_um, response, error))
    if (z <= 0).any():
        raise ValueError(f"doses are {z.tolist()} µM; a dose–response needs positive ones.")
    if len(np.unique(z)) < FEWEST_DOSES:
        return HillFit(warning=f"{len(np.unique(z))} doses are too few for a curve: give {FEWEST_DOSES} or more")
    s = np.maximum(
        np.nan_to_num(s, nan=np.nanmax(s) if np.isfinite(s).any() else 1.0), 1e-6 * np.abs(y).max(initial=1e-9)
    )
    if not (y > 2 * s).any():
        return HillFit(warning="no dose has an effect")
    x = np.log(z)
    low, high = x.min() - np.log(100), x.max() + np.log(100)
    try:
        fitted, covariance = curve_fit(
            _curve, x, y, p0=(y.max(), float(np.interp(y.max() / 2, np.maximum.accumulate(y), x)), 1.0), sigma=s,
            absolute_sigma=True, bounds=([0, low, 0.2], [10 * y.max(), high, STEEPEST]), maxfev=5000,
        )  # fmt: skip
    except RuntimeError:
        return HillFit(warning="no curve could be fitted")
    top, log_ec50, slope = fitted.tolist()
    spread = float(np.sqrt(covariance[1, 1]))
    total = np.square(y - y.mean()).sum()
    r2 = float(1 - np.square(y - _curve(x, *fitted)).sum() / total) if total > 0 else NAN
    warning = ""
    if not x.min() <= log_ec50 <= x.max():
        warning = "EC50 lies outside the doses asked for"
    elif _curve(x.max(), *fitted) < 0.8 * top:
        warning = "no plateau at the highest dose"
    lower, upper = (float(np.exp(np.clip(log_ec50 + side * spread, -50, 50))) for side in (-1.96, 1.96))
    return HillFit(float(np.exp(log_ec50)), lower, upper, top, slope, r2, warning)


def _curve(log_dose: np.ndarray, top: float, log_ec50: float, slope: float) -> np.ndarray:
    return top / (1 + np.exp(slope * (log_ec50 - log_dose)))
