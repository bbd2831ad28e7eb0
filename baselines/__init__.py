"""Adversarial-training methods. `METHODS` is the registry: a new method is one file and one line.

A method supplies pieces and never a loop (`benchmark.engine.method.Method`): how examples are
crafted, the loss, what surrounds an optimiser step, and its published recipe. torch is imported where
it is used, so that tables and `status` can read hyperparameters without it.
"""

from baselines.awp import Awp
from baselines.mart import Mart
from baselines.pgd_at import PgdAt
from baselines.score import Score
from baselines.standard import Standard
from baselines.trades import Trades
from baselines.trades_awp import TradesAwp
from benchmark.engine.method import Method
from benchmark.errors import unknown

METHODS: dict[str, Method] = {
    "pgd-at": PgdAt(),
    "trades": Trades(),
    "mart": Mart(),
    "awp": Awp(),
    "score": Score(),
    "trades-awp": TradesAwp(),
    "standard": Standard(),
}


def method(name: str) -> Method:
    """The method called `name`. Raises `UserError` if there is none."""
    if name not in METHODS:
        raise unknown("AT method", name, METHODS)
    return METHODS[name]


def adversarial(name: str) -> bool:
    """Whether the method `name` crafts adversarial examples, as all do but those that select by clean
    accuracy. One that is not known here, of a plug-in, is taken for adversarial."""
    return name not in METHODS or METHODS[name].selects_by == "robust"
