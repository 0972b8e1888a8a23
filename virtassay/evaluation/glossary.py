"""The metrics in plain words: how the report names them, which way is better, what they say and where they mislead."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """label; better: "↑" higher, "↓" lower, "→ 1" nearest to 1; meaning: one to three sentences for a biologist."""

    label: str
    better: str
    meaning: str


METRICS = {
    "effect_explained": Metric(
        "Effect explained",
        "↑",
        "The share of the treatment's effect that the generated images show: 1 − energy(real, generated) / "
        "energy(real, control), per treatment and batch. 1: distributed as the real images are. 0: as far from "
        "them as untreated controls. Negative: further away than doing nothing. The verdict rests on it. No unit.",
    ),
    "energy": Metric(
        "Energy distance",
        "↓",
        "How different the real and the generated images of a treatment are, over the whole distribution and not "
        "the mean alone. 0 if they do not differ; small negative values are sampling noise. Unit: s.d. of the "
        "controls.",
    ),
    "effect_slope": Metric(
        "Effect slope",
        "→ 1",
        "How strong the generated effect is along the real one. 1: right strength. 0: no effect. 2: twice "
        "exaggerated. It does not see effects in a wrong direction: read it together with the correlation.",
    ),
    "pearson_delta": Metric(
        "Correlation of effects",
        "↑",
        "Correlation, over features, of the generated and the real mean shift from the controls. Flattering when "
        "all treatments share one shift (toxicity, for instance): a model that knows only that shift scores high.",
    ),
    "pearson_delta_centred": Metric(
        "Correlation of effects, centred",
        "↑",
        "The same after the shift that all treatments share is taken away: only what is specific to a treatment "
        "counts.",
    ),
    "pds": Metric(
        "Treatment discrimination (PDS)",
        "↑",
        "Is the generated effect nearest to the real effect of its own treatment? 1: always. 0.5: chance.",
    ),
    "nsc": Metric(
        "Mechanism, not same compound (NSC)",
        "↑",
        "Share of generated treatments whose nearest real treatment of another compound has the same mechanism of "
        "action. Compare it with the real replicate, which does not reach 1 either; with few compounds it is "
        "coarse.",
    ),
    "nscb": Metric(
        "Mechanism, not same compound or batch (NSCB)",
        "↑",
        "As NSC, with the nearest treatment taken from another batch as well: no help from batch effects.",
    ),
    "fd": Metric(
        "Fréchet distance (FD)",
        "↓",
        "Distance between two Gaussians fitted to all images. Never the verdict: a model that ignores the drug, or "
        "copies controls, can score well because most cells look alike whatever the treatment. It also falls with "
        "the number of images: compare equal n only. Unit: features squared; it is called FID only with the "
        "Inception features.",
    ),
    "fd_inf": Metric(
        "Fréchet distance, infinite n",
        "↓",
        "The Fréchet distance extrapolated to infinitely many images. Never the verdict, for the same reasons.",
    ),
    "kd": Metric(
        "Kernel distance (KD)",
        "↓",
        "A distance of the same kind that does not depend on n (squared maximum mean discrepancy, cubic kernel). "
        "Never the verdict. Not multiplied by 1,000 here; papers often do. Small negative values are sampling "
        "noise.",
    ),
}
