"""Seeds and draws behind committed records, as they are: others would void every number."""

import numpy as np
import pytest

from benchmark.algorithm.selection import Candidates, RandomModule
from benchmark.data.hold_out import HoldOut, held_out_places, splits
from benchmark.data.info import CIFAR10, DIGITS
from benchmark.engine.counting import run_seed
from benchmark.engine.pgd import example_starts
from benchmark.evaluation.autoattack import attack_seed
from benchmark.evaluation.corruptions import corruption_seed
from benchmark.records.cells import Cell
from benchmark.submission.expected import KNOWN_DATA

BASE = Cell("narrow", "cifar10", "resnet18-w16", "pgd-at", "none", 0)


def test_seeds_are_frozen():
    """Of PGD's first and last run, of an attack of AutoAttack on a chunk, of corrupted copies."""
    assert [run_seed(BASE, run) for run in (0, 2)] == [3890856679516083100, 4734303544465787409]
    assert attack_seed(BASE, "apgd-t", 250) == 6752522071176113241
    seeds = [corruption_seed(info) for info in (DIGITS, CIFAR10)]
    assert seeds == [8620345863670324956, 6456013348368530555]


def test_starts_are_frozen():
    """Of the last two images of a block and the first two of the next one."""
    drawn = example_starts(5, 254, 258, (1, 1, 2), 0.5).flatten().tolist()
    expected = (-0.40249914, -0.4796406, -0.10227364, 0.06630677)
    assert drawn == pytest.approx(
        (*expected, -0.41181374, -0.08437932, -0.42800009, 0.30593133), abs=1e-7
    )


def test_the_hold_out_is_frozen(digits):
    """Places by class, and what of the embedded dataset is left to train on."""
    places = np.flatnonzero(held_out_places(np.repeat(np.arange(3), 40), 0.1, "digits"))
    assert places.tolist() == [10, 16, 19, 39, 45, 46, 56, 58, 83, 86, 91, 106]
    parts, known = splits(digits, HoldOut()), KNOWN_DATA["digits"]
    assert (len(digits.test), len(parts.selection)) == (known.test, known.held_out)
    assert digits.train.sha256() == known.train_sha256
    assert parts.train.sha256() == known.kept_sha256


def test_random_modules_are_frozen():
    """What the first seeds draw of ten modules."""
    drawn = [RandomModule().select(Candidates("abcdefghij", None, "", "", seed)) for seed in range(6)]
    assert drawn == [["b"], ["e"], ["i"], ["g"], ["j"], ["i"]]
