"""Figures 1, 3 and C.1 to C.5 of the paper, criticality against damage, training curves, the audit and
RiFT's rivals, one file a family.
"""

from benchmark.report.figures.bars import BarFigure
from benchmark.report.figures.curves import CurveFigure
from benchmark.report.figures.damage import DamageFigure
from benchmark.report.figures.figure import FigureSpec, PlaceInScale
from benchmark.report.figures.gains import GainFigure
from benchmark.report.figures.rivals import RivalFigure
from benchmark.report.figures.training import TrainingFigure

FIGURES: dict[str, FigureSpec] = {
    spec.name: spec
    for spec in (
        CurveFigure("figure1", "clean against robust accuracy along alpha, first dataset and network"),
        BarFigure("figure3", "criticality of every module, first dataset and network"),
        BarFigure(
            "figure3-official",
            "Figure 3 with the criticality of the released code",
            tuning="rift-official-code",
        ),
        BarFigure("figure-c1", "Figure 3 of the second dataset and network", PlaceInScale(1, 1)),
        BarFigure("figure-c2", "Figure 3 of the third dataset and network", PlaceInScale(2, 2)),
        BarFigure("figure-c3", "Figure 3 of the second dataset, first network", PlaceInScale(1, 0)),
        BarFigure("figure-c4", "Figure 3 of the third dataset, first network", PlaceInScale(2, 0)),
        CurveFigure("figure-c5", "Figure 1 of the second dataset", PlaceInScale(1, 0)),
        DamageFigure("figure-damage", "criticality against what fine-tuning a module alone costs"),
        TrainingFigure(
            "figure-training", "loss, accuracy and learning rate by epoch, of training and fine-tuning"
        ),
        GainFigure(
            "figure-audit", "what every reading of RiFT and every control gains, with intervals"
        ),
        RivalFigure(
            "figure-posthoc", "what post-training methods make of one base model, by an adaptive attack"
        ),
    )
}
