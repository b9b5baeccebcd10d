"""What an explanation says: Grad-CAM pictures of chosen test images, and how far the maps can be believed."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.evaluation.results import Estimate

Method = Literal["closed form", "captum"]
NOT_A_LOCALISATION = "Not a lesion localisation."
LEGEND = (
    "Left the image, right the same under its map. The bar runs from zero at the bottom to the largest value of this "
    "one map at the top, so colours cannot be compared between pictures; regions below a quarter of it stay grey. The "
    "line encloses what reaches half of it, the cross marks the largest value."
)

# passed and failed need the whole 95 % interval on one side of what is asked.
Verdict = Literal["passed", "failed", "inconclusive", "not evaluated"]
Outcome = Literal["true positive", "false positive", "false negative", "true negative"]


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CamItem(_Result):
    """One image with the regions that raised the predicted class.

    predicted is a class name and truth one too, or in a multi-label task the label cell, in which predicted is
    the class whose score is explained. probability is that of the predicted class, in [0, 1]. all_zero: no
    region raised it, so the picture carries no overlay. picture_png_base64: the grey image beside the
    overlaid one.
    """

    image_id: str
    truth: str
    predicted: str
    probability: float
    outcome: Literal["correct", "wrong"]
    all_zero: bool
    picture_png_base64: str


class OutcomeItem(_Result):
    """One image that came out as `outcome` for the class at its operating point, and what raised that class's score.

    Neither the best nor the worst such image, but the one in the middle by probability (that of the class). of: how
    many images came out so. truth: class name, or the label cell of a multi-label task.
    """

    class_name: str
    outcome: Outcome
    of: int
    image_id: str
    truth: str
    probability: float
    threshold: float
    all_zero: bool
    picture_png_base64: str


class CamSheet(_Result):
    """The examples of one architecture: by true class, correct before wrong, most confident first.

    layer: dotted path of the module whose activations were weighted. Colours are scaled to each image's own
    maximum and say nothing about strength across images; a region is not a lesion localisation.
    """

    architecture: str
    layer: str
    items: list[CamItem]


class Measured(_Result):
    """A check with its verdict. reason: why it is not evaluated or inconclusive, else "". statement: one sentence."""

    verdict: Verdict
    reason: str = ""
    statement: str


class ClassCheck(Measured):
    """The verdict on the maps of one class."""

    class_name: str
    title: str


class ClassLungEnergy(ClassCheck):
    """Maps of one class on images that show it, against lung masks.

    energy: median share of a map's sum that lies in the lungs, in [0, 1]. lift: median of that share over the share
    of the picture that the lungs fill; 1 is what a map without any preference has. lung_area: mean share of the
    picture. all_zero: maps without a positive region, which have no share and are left out.
    """

    energy: Estimate
    lift: Estimate
    lung_area: float | None
    all_zero: int


class LungEnergy(Measured):
    """Whether the maps lie on the lungs, by class; the worst verdict of the classes that could be evaluated."""

    classes: list[ClassLungEnergy]


class ClassPointing(ClassCheck):
    """How often the maximum of the map lies in a box that a reader drew around the finding.

    hit_rate: hits over images, one image of each identity group. chance: mean share of the picture that the boxes
    fill. needed: the fewest hits that chance would reach in less than 5 % of cases. p_value: one-sided binomial.
    failed: no better than chance.
    """

    hits: int
    hit_rate: Estimate
    chance: float | None = None
    needed: int | None = None
    p_value: float | None = None


class PointingGame(Measured):
    """Whether the maps point at what readers boxed, by class; the worst verdict of the classes that have boxes."""

    classes: list[ClassPointing]


class Perturbation(_Result):
    """Areas under the probability of the explained class while pixels are taken away or put back in a map's order.

    saliency: what gives the order. deletion: most salient pixels replaced by a blurred image first; low is faithful.
    insertion: most salient pixels put into the blurred image first; high is faithful.
    """

    saliency: Literal["Grad-CAM", "random", "centre"]
    deletion: Estimate
    insertion: Estimate


class DeletionInsertion(Measured):
    """Grad-CAM against two maps that know nothing of the image.

    gain_over_random, gain_over_centre: mean of (insertion - deletion) of Grad-CAM minus that of the control, on the
    same images; 0 is no better than the control.
    """

    saliencies: list[Perturbation]
    gain_over_random: Estimate
    gain_over_centre: Estimate


class Faithfulness(_Result):
    """The three checks of what the maps mark; the sanity check asks whether they depend on the weights at all."""

    lung_energy: LungEnergy
    pointing_game: PointingGame
    deletion_insertion: DeletionInsertion


class RandomisedStage(_Result):
    """Likeness of the maps before and after everything from the output down to `down_to` was drawn at random.

    down_to: dotted path of the lowest module that was. spearman: rank correlation in [-1, 1]; ssim: structural
    similarity in [-1, 1]; means over images.
    """

    down_to: str
    spearman: Estimate
    ssim: Estimate


class SanityCheck(Measured):
    """Cascading randomisation (Adebayo et al. 2018): maps of a network that knows nothing must look different.

    baseline_spearman, baseline_ssim: mean likeness of the maps of two different images. Passed where the maps of
    wholly random networks are less like the original ones than that, failed where they are as like or more.
    """

    stages: list[RandomisedStage]
    baseline_spearman: float | None
    baseline_ssim: float | None


class Explanation(CamSheet):
    """The sheet of one architecture with everything that says what it is worth.

    cells: rows and columns of a map before it is enlarged.
    at_operating_point: by class, true positives, false positives, false negatives, true negatives. statements: what
    must be printed with the pictures; the sanity check's is among them.
    """

    method: Method
    cells: tuple[int, int]
    at_operating_point: list[OutcomeItem]
    faithfulness: Faithfulness
    sanity: SanityCheck
    statements: list[str]
    legend: str = LEGEND
