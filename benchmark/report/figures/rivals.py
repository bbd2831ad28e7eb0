"""Post-training methods in the plane of clean against adaptive robust accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from benchmark.errors import UserError
from benchmark.evaluation import evaluation
from benchmark.plans.scales import Scale
from benchmark.records.cells import Cell, base_name
from benchmark.records.store import Store
from benchmark.report.estimates import Records, per_image
from benchmark.report.figures import draw
from benchmark.report.figures.figure import FigureSpec, Picture, Rows, left_out
from benchmark.report.tables.layout import by_finetune
from benchmark.report.tables.posthoc import adaptive_pgd, rival_cells
from benchmark.report.view import Missing, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (draw.BLUE, draw.VERMILLION, draw.GREEN, draw.PURPLE, draw.ORANGE, draw.GREY)
NEAR = 0.04
"""Arrowheads within this share of both ranges have one label."""


@dataclass(frozen=True)
class RivalFigure(FigureSpec):
    """An arrow from the base model to what each method makes of it, under the adaptive attack, and a
    hollow head where the attack through the module alone puts it."""

    of_posthoc: ClassVar[bool] = True

    def cells(self, scale: Scale) -> list[Cell]:
        return rival_cells(scale)

    def wanted(self, scale: Scale) -> tuple[str, ...]:
        """Raises `UserError`, before anything is made, for a scale that lacks one of the three."""
        if len(found := self._shown(scale)) < len(Standing._fields):
            raise UserError(
                f"{self.name} is of Std, Adv and pgd10x3-adaptive, and `posthoc` of scale "
                f"'{scale.name}' has {', '.join(scale.evaluations)}; add to it what is missing"
            )
        return found

    def _shown(self, scale: Scale) -> tuple[str, ...]:
        names = scale.evaluations
        std, adv = ([n for n in names if evaluation(n).role == role][:1] for role in ("Std", "Adv"))
        adaptive = adaptive_pgd(scale)
        return (*std, *adv, *([adaptive] if adaptive else []))

    def build(self, view: View) -> "Rivals":
        scale, cells = view.scale, self.cells(view.scale)
        found, missing = dict[str, Standing](), list[Cell]()
        for name, own in by_finetune(cells).items():
            known = [view.records(own, each) for each in self._shown(scale)]
            records = [each for each in known if not isinstance(each, Missing)]
            if len(records) == len(Standing._fields):
                found[name] = Standing.of(view.store, *records)
            else:
                missing += own
        moved = {name: place for name, place in found.items() if base_name(name) in found}
        if len(moved) < 2:
            raise self.nothing(missing)
        notes = [
            "arrows: from the base model to the method, by the adaptive attack (the worst of the "
            "module, its stand-in and the base's examples)",
            "hollow: where the attack through the module alone puts it on the same images, as others "
            "measure it",
            *left_out(missing),
        ]
        head = self.head(scale, "Post-training methods: clean against robust accuracy", "means", notes)
        return Rivals(*head, moved)


class Standing(NamedTuple):
    """Accuracies of a model: clean, under the attack through it alone, and under the adaptive one."""

    clean: float
    alone: float
    adaptive: float

    @classmethod
    def of(cls, store: Store, clean: Records, alone: Records, adaptive: Records) -> "Standing":
        """Means over seeds of the records of a model; both attacks are shown on the same images."""
        images = min(record.n for record in (*alone, *adaptive))

        def mean(records: Records, images: int | None = None) -> float:
            return fmean(float(per_image(store, record)[:images].mean()) for record in records)

        return cls(mean(clean), mean(alone, images), mean(adaptive, images))


@dataclass(frozen=True)
class Rivals(Picture):
    """Places of base models and of methods, by name in the order of the table."""

    places: dict[str, Standing]

    def rows(self) -> Rows:
        return [
            {"method": name, "clean": place.clean, "robust": place.adaptive}
            | {"not_adaptive": place.alone}
            for name, place in self.places.items()
        ]

    def figure(self) -> "Figure":
        figure, (axes,) = draw.canvas(draw.PAGE * 0.75, 3.4, (1,))
        axes.grid(lw=0.3, color=draw.GRID)
        axes.set_xlabel("Std (%)")
        axes.set_ylabel("Adv, adaptive (%)")
        axes.set_title(self.model, loc="left")
        methods = [name for name in self.places if name != base_name(name)]
        handles = [draw.line(color=draw.BLACK, marker="o", ms=4, ls="none", label="base")]
        for number, name in enumerate(methods):
            colour = COLOURS[number % len(COLOURS)]
            self._arrow(axes, name, colour)
            label = f"{number + 1}  {name}"
            handles.append(draw.line(color=colour, marker="o", ms=3.5, lw=1.2, label=label))
        handles.append(
            draw.line(color=draw.BLACK, marker="o", mfc="white", ms=4, ls="none", label="not adaptive")
        )
        together = self._together(methods)
        for numbers in together:
            place, alone = self.places[methods[numbers[0]]], len(numbers) == 1
            axes.annotate(
                ", ".join(str(number + 1) for number in numbers),
                (100 * place.clean, 100 * place.adaptive),
                (4 if alone else -4, -7),
                textcoords="offset points",
                color=COLOURS[numbers[0] % len(COLOURS)] if alone else draw.BLACK,
                ha="left" if alone else "right",
                size=6.5,
            )
        for name, place in self.places.items():
            if name == base_name(name):
                axes.plot(
                    100 * place.clean, 100 * place.adaptive, "o", color=draw.BLACK, ms=4, zorder=5
                )
        axes.margins(0.12 + 0.02 * (max(map(len, together)) - 1), 0.12)
        figure.legend(handles=handles, loc="outside right center")
        return figure

    def _together(self, methods: Sequence[str]) -> list[list[int]]:
        """Indices into `methods`, grouped by arrowheads so close that they share a label."""
        clean, robust = ([each[axis] for each in self.places.values()] for axis in (0, 2))
        room = [NEAR * (max(each) - min(each)) for each in (clean, robust)]
        groups: list[list[int]] = []
        for number, name in enumerate(methods):
            for group in groups:
                first, own = self.places[methods[group[0]]], self.places[name]
                apart = abs(first.clean - own.clean), abs(first.adaptive - own.adaptive)
                if apart[0] <= room[0] and apart[1] <= room[1]:
                    group.append(number)
                    break
            else:
                groups.append([number])
        return groups

    def _arrow(self, axes: "Axes", name: str, colour: str) -> None:
        x, alone, adaptive = (100 * each for each in self.places[name])
        base = self.places[base_name(name)]
        axes.annotate(
            "",
            (x, adaptive),
            (100 * base.clean, 100 * base.adaptive),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.1, "shrinkA": 0, "shrinkB": 0},
        )
        axes.plot([x, x], [adaptive, alone], color=colour, lw=0.7, ls=":", zorder=2)
        axes.plot(x, alone, "o", c=colour, mfc="white", ms=4, mew=0.9, zorder=3)
        axes.plot(x, adaptive, "o", c=colour, ms=2.5, zorder=4)
