"""Evaluations by name. `EVALUATIONS` is the registry: a new one is one file and one line.

An evaluation is a frozen dataclass; its fields and version are part of every record's spec. torch
is imported where it is used, so that tables and `status` start without it.
"""

import re

from benchmark.data.info import DatasetInfo
from benchmark.errors import unknown
from benchmark.evaluation.adaptive import AdaptiveAutoAttack, AdaptivePgd
from benchmark.evaluation.autoattack import Apgd, AutoAttack
from benchmark.evaluation.clean import Clean
from benchmark.evaluation.corruptions import GeneratedCorruptions, OfficialCorruptions
from benchmark.evaluation.first import FIRST, First, whole_name
from benchmark.evaluation.margins import Margins
from benchmark.evaluation.pgd import Pgd10OfficialCode, Pgd10x3
from benchmark.evaluation.protocol import Evaluation
from benchmark.records.plugins import made_with
from benchmark.records.specs import Spec

EVALUATIONS: dict[str, Evaluation] = {
    "clean": Clean(),
    "corruptions-15": OfficialCorruptions(15),
    "corruptions-18": OfficialCorruptions(18),
    "corruptions-15-severity-1": OfficialCorruptions(15, severities=(1,)),
    "corruptions-18-severity-1": OfficialCorruptions(18, severities=(1,)),
    "corruptions-15-gen-v2": GeneratedCorruptions(15),
    "corruptions-18-gen-v2": GeneratedCorruptions(18),
    "corruptions-15-gen-v2-pictures": GeneratedCorruptions(15, frost="pictures"),
    "corruptions-18-gen-v2-pictures": GeneratedCorruptions(18, frost="pictures"),
    "pgd10x3": Pgd10x3(),
    "pgd10-official-code": Pgd10OfficialCode(),
    "apgd": Apgd(),
    "autoattack": AutoAttack(),
    "pgd10x3-adaptive": AdaptivePgd(),
    "autoattack-adaptive": AdaptiveAutoAttack(),
    "margins": Margins(),
}
"""`severity-1` is what the released code evaluates on Tiny-ImageNet-C (Immortalise/RiFT, utils.py and
dataloader.py, `level=1`), although the paper's numbers look like all five."""


def evaluation(name: str) -> Evaluation:
    """The evaluation called `name`; `NAME-first-N` is on the first N test images only. Raises
    `UserError` if there is none."""
    whole, limit, images = name.partition(FIRST)
    if whole not in EVALUATIONS or (limit and not re.fullmatch(r"[1-9][0-9]{0,8}", images)):
        listed = f"{', '.join(EVALUATIONS)}, and NAME{FIRST}N on the first N test images"
        raise unknown("evaluation", name, EVALUATIONS, listed, typed=whole)
    return First(EVALUATIONS[whole], int(images)) if limit else EVALUATIONS[whole]


def evaluation_spec(name: str, info: DatasetInfo) -> Spec | None:
    """What numbers of the evaluation `name` depend on beside the model, with the plug-in that it is of.

    None if `info` has no data for it. Raises `UserError` if there is no such evaluation.
    """
    spec = evaluation(name).spec(info)
    return None if spec is None else spec | made_with(("evaluation", whole_name(name)))
