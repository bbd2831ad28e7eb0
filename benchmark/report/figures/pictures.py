"""The numbers that a figure shows: by seed, their means, and as CSV (no matplotlib).

Accuracies are fractions here; `benchmark.report.figures.draw` draws them as percents and points.
"""

import csv
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

MEAN = "mean"
Rows = list[dict[str, object]]
Values = tuple[float, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Picture:
    """What a figure shows: the numbers (in subclasses), what they are of, and notes for its caption.

    `model` names network and dataset for a reader.
    """

    name: str
    title: str
    model: str
    seeds: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def caption(self) -> str:
        """What is printed with the picture: title, model, and a note per line."""
        return "\n".join([f"{self.title}, {self.model}", "", *(f"  {note}" for note in self.notes), ""])

    def files(self) -> dict[str, bytes]:
        """Contents of its files by suffix: `png`, `svg` and `csv` (the numbers shown)."""
        from benchmark.report.figures.draw import draw

        return {**draw(self), "csv": self.csv().encode()}

    def rows(self) -> Rows:
        """The numbers behind the picture, accuracies as fractions; `seed` is `mean` for a mean."""
        raise NotImplementedError

    def csv(self) -> str:
        """`rows` as CSV with a head, numbers to ten places, None left blank."""
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 10) if isinstance(v, float) else v for k, v in row.items()})
        return text.getvalue()


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean, or None if any value is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def _and_mean(seeds: Sequence[int], values: Sequence[T], mean: T) -> list[tuple[object, T]]:
    """Values by seed, and their mean if there are several."""
    pairs: list[tuple[object, T]] = [*zip(seeds, values, strict=True)]
    return [*pairs, (MEAN, mean)] if len(seeds) > 1 else pairs


# --- between two weights ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accuracies:
    """Clean and robust accuracy (fractions) at every alpha of a grid."""

    clean: Values
    robust: Values


@dataclass(frozen=True)
class TuningCurve:
    """One fine-tuning: accuracies at every alpha by seed, and the alpha* of each seed."""

    tuning: str
    label: str
    alphas: Values
    seeds: tuple[Accuracies, ...]
    chosen: Values
    whole_network: bool

    @property
    def mean(self) -> Accuracies:
        """The mean over seeds, alpha by alpha."""
        clean = zip(*(seed.clean for seed in self.seeds), strict=True)
        robust = zip(*(seed.robust for seed in self.seeds), strict=True)
        return Accuracies(tuple(map(statistics.fmean, clean)), tuple(map(statistics.fmean, robust)))

    def aligned(self) -> list[Accuracies]:
        """The curves of the seeds, each moved as a whole so that it starts at the mean's first point.

        Seeds differ in their base models by more than a fine-tuning changes them. After the move a
        point is as far from AT as it is in its own seed, and the constraint is one line for all.
        """
        mean, moved = self.mean, []
        for seed in self.seeds:
            right, up = mean.clean[0] - seed.clean[0], mean.robust[0] - seed.robust[0]
            clean = tuple(value + right for value in seed.clean)
            moved.append(Accuracies(clean, tuple(value + up for value in seed.robust)))
        return moved


@dataclass(frozen=True)
class Curves(Picture):
    """Robust against clean accuracy along alpha; `tolerance` (a fraction) is what alpha* may lose."""

    tunings: tuple[TuningCurve, ...]
    tolerance: float

    @property
    def base(self) -> tuple[float, float]:
        """Clean and robust accuracy of AT, which is alpha = 0 of every curve."""
        mean = self.tunings[0].mean
        return mean.clean[0], mean.robust[0]

    @property
    def floor(self) -> float:
        """The robust accuracy below which no alpha* may be."""
        return self.base[1] - self.tolerance

    def rows(self) -> Rows:
        return [
            {"tuning": curve.tuning, "seed": seed, "alpha": alpha, "clean": clean, "robust": robust}
            | {"alpha_star": None if chosen is None else alpha == chosen}
            for curve in self.tunings
            for (seed, accuracies), chosen in zip(
                _and_mean(self.seeds, curve.seeds, curve.mean), (*curve.chosen, None), strict=False
            )
            for alpha, clean, robust in zip(
                curve.alphas, accuracies.clean, accuracies.robust, strict=True
            )
        ]


# --- one bar per module -------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeasuredModule:
    """MRC, drop of robust accuracy (fraction) and reached ||dW||/||W|| of one module, by seed.

    None where the ascent diverged. `constrained` says by seed whether the constraint was ever active.
    """

    module: str
    mrc: tuple[float | None, ...]
    drop: tuple[float | None, ...]
    norm_ratio: tuple[float | None, ...]
    constrained: tuple[bool, ...]

    @property
    def diverged(self) -> bool:
        return None in self.mrc

    @property
    def failed(self) -> bool:
        """Whether any ascent ended lower than it began."""
        return any(mrc is not None and mrc < 0 for mrc in self.mrc)

    @property
    def flagged(self) -> bool:
        """Whether any MRC is under-estimated, the constraint never having been active."""
        pairs = zip(self.mrc, self.constrained, strict=True)
        return any(mrc is not None and mrc >= 0 and not constrained for mrc, constrained in pairs)

    @property
    def mean_mrc(self) -> float | None:
        """None if any ascent diverged."""
        return _mean(self.mrc)

    @property
    def mean_drop(self) -> float | None:
        """None if any ascent diverged."""
        return _mean(self.drop)


def ranked(modules: Iterable[MeasuredModule], *, released_order: bool = False) -> list[MeasuredModule]:
    """From least to most critical by mean MRC; the module nearer the input first on a tie.

    As `Candidates.ranked`: modules with an ascent that diverged or failed are left out but in the
    released order.
    """
    whole = [each for each in modules if released_order or not (each.diverged or each.failed)]
    return sorted(whole, key=lambda module: _key(module.mean_mrc))


def _key(mrc: float | None) -> float:
    """An ascent that diverged comes before all others, where it is ranked at all."""
    return -math.inf if mrc is None else mrc


def axis_of_mrc(modules: Iterable[MeasuredModule]) -> Literal["linear", "log", "symlog"]:
    """Linear if all MRC are within a factor of ten; else log, or symlog if any is not positive."""
    values = [value for module in modules for value in module.mrc if value is not None]
    sizes = [abs(value) for value in values if value != 0]
    if not sizes or max(sizes) < 10 * min(sizes):
        return "linear"
    return "log" if min(values) > 0 else "symlog"


@dataclass(frozen=True)
class Bars(Picture):
    """MRC and robust-accuracy drop of every module, input first."""

    modules: tuple[MeasuredModule, ...]
    released_order: bool = False

    @property
    def order(self) -> list[MeasuredModule]:
        """Its modules from least to most critical."""
        return ranked(self.modules, released_order=self.released_order)

    def rows(self) -> Rows:
        return [
            {"place": place, "module": module.module, "seed": seed, "mrc": mrc, "accuracy_drop": drop}
            | {"norm_ratio": ratio, "constrained": constrained}
            for place, module in enumerate(self.modules, start=1)
            for seed, (mrc, drop, ratio, constrained) in _and_mean(
                self.seeds,
                [*zip(module.mrc, module.drop, module.norm_ratio, module.constrained, strict=True)],
                (module.mean_mrc, module.mean_drop, _mean(module.norm_ratio), all(module.constrained)),
            )
        ]


# --- one module fine-tuned at a time ------------------------------------------------------------------


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho of two quantities over modules, and its two-sided p-value."""

    rho: float
    p: float

    @property
    def text(self) -> str:
        """`rho = 0.53 (p = 0.013)`; a p below 0.001 reads `p < 0.001`."""
        return f"rho = {self.rho:z.2f} (p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'})"


@dataclass(frozen=True)
class DamagedModule:
    """A module, and what fine-tuning it alone loses in Adv and gains in Std (fractions) by seed.

    `rank` is its place by mean MRC among all modules that have one, 1 the least critical.
    """

    rank: int
    measured: MeasuredModule
    loss: Values
    gain: Values

    @property
    def mean_loss(self) -> float:
        return statistics.fmean(self.loss)

    @property
    def mean_gain(self) -> float:
        return statistics.fmean(self.gain)


@dataclass(frozen=True)
class Damage(Picture):
    """What fine-tuning one module costs and gains, from least to most critical.

    `modules` are those that are complete, of `count` that are ranked.
    """

    modules: tuple[DamagedModule, ...]
    count: int

    @property
    def loss_correlation(self) -> Correlation | None:
        """Of mean MRC and mean loss in Adv; None where it is not defined."""
        return self._with_mrc([module.mean_loss for module in self.modules])

    @property
    def gain_correlation(self) -> Correlation | None:
        """Of mean MRC and mean gain in Std; None where it is not defined."""
        return self._with_mrc([module.mean_gain for module in self.modules])

    def _with_mrc(self, changes: Sequence[float]) -> Correlation | None:
        return spearman([_key(module.measured.mean_mrc) for module in self.modules], changes)

    def by_seed(self) -> list[Correlation | None]:
        """Correlation of MRC and loss in Adv within each seed."""
        return [
            spearman(
                [_key(module.measured.mrc[place]) for module in self.modules],
                [module.loss[place] for module in self.modules],
            )
            for place in range(len(self.seeds))
        ]

    def rows(self) -> Rows:
        return [
            {"rank": module.rank, "module": module.measured.module, "seed": seed, "mrc": mrc}
            | {"adv_loss": loss, "std_gain": gain}
            for module in self.modules
            for seed, (mrc, loss, gain) in _and_mean(
                self.seeds,
                [*zip(module.measured.mrc, module.loss, module.gain, strict=True)],
                (module.measured.mean_mrc, module.mean_loss, module.mean_gain),
            )
        ]


def spearman(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation; None for fewer than three pairs or if all of one side are equal."""
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    from scipy.stats import spearmanr

    result = spearmanr(x, y)
    return Correlation(float(result.statistic), float(result.pvalue))
