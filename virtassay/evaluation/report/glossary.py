"""The metrics in plain words: how the report names them, which way is better, what they say and where they mislead."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """label; better: "↑" higher, "↓" lower, "→ x" nearest to x, "" for information; meaning: for a biologist.

    pooled: it looks at all images together, and does not see whether their treatments are exchanged.
    """

    label: str
    better: str
    meaning: str
    pooled: bool = False

    def goodness(self, value: float) -> float:
        """How good a value is, so that larger is better: v, −v or −|v − x|; NaN where none is better."""
        if not self.better:
            return float("nan")
        if self.better.startswith("→"):
            return -abs(value - float(self.better.removeprefix("→")))
        return value if self.better == "↑" else -value


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
        pooled=True,
    ),
    "fd_inf": Metric(
        "Fréchet distance, infinite n",
        "↓",
        "The Fréchet distance extrapolated to infinitely many images. Never the verdict, for the same reasons.",
        pooled=True,
    ),
    "kd": Metric(
        "Kernel distance (KD)",
        "↓",
        "A distance of the same kind that does not depend on n (squared maximum mean discrepancy, cubic kernel). "
        "Never the verdict. Not multiplied by 1,000 here; papers often do. Small negative values are sampling "
        "noise.",
        pooled=True,
    ),
    "kd_subsets": Metric(
        "Kernel distance (KD), as published",
        "↓",
        "The mean over 100 subsets of 100 images on either side, the protocol of published tables; not × 1,000 here.",
        pooled=True,
    ),
    "precision": Metric(
        "Precision",
        "↑",
        "Share of generated images that lie among the real ones: nearer to a real image than its fifth neighbour is.",
        pooled=True,
    ),
    "recall": Metric(
        "Recall",
        "↑",
        "Share of real images that lie among the generated ones: low where the generated images lack variety.",
        pooled=True,
    ),
    "coverage": Metric(
        "Coverage",
        "↑",
        "Share of real images that have a generated one nearer than their fifth real neighbour.",
        pooled=True,
    ),
    "density": Metric(
        "Density",
        "→ 1",
        "How many real neighbourhoods a generated image lies in. For information: it rewards collapse to the typical.",
        pooled=True,
    ),
    "fid": Metric(
        "FID",
        "↓",
        "The Fréchet distance in Inception's features, as published tables have it. Never the verdict.",
        pooled=True,
    ),
    "fid_c": Metric(
        "FID of each perturbation",
        "↓",
        "The mean over perturbations of their own FID. Biased upwards, as perturbations have few images.",
    ),
    "kid_x1000": Metric("KID × 1,000", "↓", "The kernel distance in Inception's features, quoted so.", True),
    "kid_x100": Metric("KID × 100", "↓", "The kernel distance in Inception's features, quoted so.", True),
    "kid_c_x100": Metric("KID of each perturbation × 100", "↓", "The mean over perturbations of their own KID."),
    "moa_accuracy": Metric(
        "Mechanism recognised",
        "↑",
        "Share of generated images whose mechanism a classifier taught by real training images names.",
    ),
    "memorisation": Metric(
        "Distance to training images",
        "→ 1",
        "How near generated images are to training images, in units of how near unseen real images are. 1 is right; "
        "far below it the model copies what it was trained on.",
        pooled=True,
    ),
    "authenticity": Metric(
        "Authentic images",
        "→ 1",
        "Share of generated images that are no near copy of a training image, over that share of unseen real images.",
        pooled=True,
    ),
    "variance_ratio": Metric(
        "Spread",
        "→ 1",
        "Variance among the generated cells of a treatment over that among the real ones. Below 1: too uniform.",
    ),
    "rare_fraction_error": Metric(
        "Rare cells",
        "→ 0",
        "Share of cells that are rarer than 1 in 100 controls, generated less real. Below 0: rare cells are missing.",
    ),
    "c2st": Metric(
        "Told from real (C2ST)",
        "→ 0.5",
        "Can a classifier tell generated from real images of one treatment and batch? AUC: 0.5 is guessing, 1 always.",
    ),
    "response": Metric(
        "How far given cells move",
        "",
        "Distance of each generated cell from the control that it began at, in units of the spread of controls. Asked "
        "for no treatment it should be 0; about 1.4 is what unrelated controls have.",
    ),
    "pairing": Metric(
        "What pairing saves",
        "↑",
        "Share of the variance of an effect that is gone when each treated cell is compared with the control that it "
        "began at.",
    ),
    "cas": Metric(
        "Teaches as real images do (CAS)",
        "↑",
        "Accuracy on real images of a classifier of treatments taught by generated ones, over that of one taught by "
        "real ones.",
    ),
    "accuracy_on_generated": Metric(
        "Recognised as real images are",
        "→ 1",
        "Accuracy on generated images of a classifier taught by real ones, over that on real images. Above 1: the "
        "generated images are easier, exaggerated or too uniform.",
    ),
    "batch_leak": Metric(
        "Batch shown",
        "→ 0",
        "Accuracy of a classifier of batches, taught by real controls, on generated less that on real images. Below 0: "
        "the generated images do not look like their batch.",
        pooled=True,
    ),
    "batch_leak_aligned": Metric(
        "Batch shown after alignment",
        "→ 0",
        "The same once the mean of the batch's controls is subtracted: what a comparison across batches would suffer.",
        pooled=True,
    ),
    "relation_recall": Metric(
        "Relations found",
        "↑",
        "Share of pairs known to be related that are among the 5 % most alike or 5 % most opposite pairs of the "
        "generated map. Chance is 10 %.",
    ),
    "map_concordance": Metric(
        "Concordance of maps",
        "↑",
        "Rank correlation of all pairwise likenesses of perturbations, generated and real.",
    ),
    "compound_gene_ap": Metric(
        "Compounds find their genes (AP)",
        "↑",
        "Average precision with which a compound's generated effect, by its absolute cosine, ranks the knock-outs of "
        "the genes that it acts on among other targets. Chance is the share of targets, given in the fingerprint.",
    ),
    "compound_gene_auc": Metric(
        "Compounds find their genes (AUC)",
        "↑",
        "The same as the chance that a gene that it acts on ranks above one that it does not. 0.5: chance.",
    ),
    "retrieval_map": Metric(
        "Retrieval of replicates (mAP)",
        "↑",
        "How high the real wells of a treatment rank when its generated effect searches the wells of the batch.",
    ),
    "pds_l2": Metric(
        "Treatment discrimination by distance",
        "↑",
        "As treatment discrimination, by Euclidean distance after both sides are brought to equal size. 0.5: chance.",
    ),
    "pds_within_moa": Metric(
        "Treatment discrimination within a mechanism",
        "↑",
        "The same among treatments of one mechanism only: knowing the mechanism alone gives 0.5.",
    ),
    "pds_unseen": Metric(
        "Treatment discrimination of unseen perturbations",
        "↑",
        "The same among perturbations that were never trained on. 0.5: chance.",
    ),
}


def metric(name: str) -> Metric:
    """Look a metric up by its name, or by what stands before a colon: relation_recall:moa is one of its kind."""
    kind, _, of = name.partition(":")
    known = METRICS[kind]
    return replace(known, label=f"{known.label}: {of.replace('_', '-')}") if of else known
