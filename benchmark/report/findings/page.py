"""What was found, scale by scale, in Markdown: our numbers from records, with their intervals."""

from collections.abc import Mapping

from benchmark.plans.named import unknown_names
from benchmark.plans.scales import Scale
from benchmark.records.store import Store
from benchmark.report.check.published_schema import Published
from benchmark.report.findings.at_scale import AtScale

HEAD = """---
license: mit
pretty_name: RiFT benchmark results
task_categories: [image-classification]
tags: [adversarial-robustness, benchmark]
configs:
  - config_name: leaderboard
    data_files: leaderboard.csv
---

# Results: what was found

`python -m benchmark leaderboard` writes this page from the records in this folder; nobody edits it.
Intervals are 95 %: over seeds where there are several, else over test images, and then they do not say
what training again would change. Nothing corrects for multiple comparisons: where nothing differs, 1
in 20 excludes 0. Bold: the interval excludes 0, gain or loss. As in the paper, test images choose
epoch and alpha (but for `held-out`), which favours what is chosen; no interval accounts for it.
[docs/findings.md](../docs/findings.md) discusses it, and [docs/records.md](../docs/records.md) says
what each file is, and `croissant.json` describes the columns of `leaderboard.csv` to machines. Images
are not in here: a record holds which of them a model gets right."""


def findings(store: Store, scales: Mapping[str, Scale | None], published: Published) -> str:
    """The page `results/README.md`: at each of `scales`, those of most seeds first, what RiFT gains,
    beside controls and rivals, and how the papers' claims stand.

    Raises `UserError` for broken records.
    """
    known = {
        name: scale
        for name, scale in scales.items()
        if scale is not None and not unknown_names(vars(scale))  # else of plug-ins, not loaded
    }
    found = [AtScale.of(store, name, scale) for name, scale in known.items()]
    found.sort(key=lambda each: -len(each.full.seeds(each.full.first)))
    short = "\n".join(line for each in found for line in each.in_short())
    parts = (part for each in found for part in each.sections(published))
    return "\n\n".join([HEAD, short, *parts]) + "\n"
