"""Fixtures that several test files share."""

import gc
import http.server
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import pytest
from hypothesis import settings

from benchmark.data import LOADERS
from benchmark.engine.precision import BF16, FP32, Precision, use
from benchmark.records.store import Store
from benchmark.report.tables import REPORTS
from benchmark.report.tables.layout import Table
from benchmark.report.view import View
from handmade import BY_HAND, copied_to, store_in, write_every_table
from invoking import MINI, TINY, Command, Said

# A busy machine is no failure, and the same commit passes or fails each time; `--hypothesis-profile
# explore` and `torture` look further, elsewhere each time.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.register_profile("torture", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# torch reads it when it is first imported: sums are taken in the same order on every machine.
os.environ["OMP_NUM_THREADS"] = "1"
use(Precision(FP32))  # for what is made before the first test


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What is imported stays: no collection of garbage looks through it."""
    gc.disable()
    found = yield
    gc.freeze()
    gc.enable()
    return found


def pytest_sessionfinish() -> None:
    """But the last one."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _in_fp32() -> Iterator[None]:
    """Every test begins in fp32, whatever the processor, and leaves it at that."""
    use(Precision(FP32))
    yield
    use(Precision(FP32))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """No test leaves another number of torch's threads to the next."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 1  # as `OMP_NUM_THREADS` says above
    yield
    if (torch := sys.modules.get("torch")) and torch.get_num_threads() != before:
        torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _without_a_disk() -> Iterator[None]:
    """Nothing waits for a disk: what a test kills is a process, not the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def in_bf16() -> Callable[[], None]:
    """A function that puts the process into bf16, for the rest of the test and on any processor."""
    return partial(use, Precision(BF16))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store of a test's own."""
    return store_in(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _digits_are_read_once() -> Iterator[None]:
    """Which scikit-learn has in a packed CSV."""
    once = cache(LOADERS["digits"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOADERS, "digits", lambda _: once(Path()))
        yield


@pytest.fixture(scope="session")
def written_by_hand(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with every record of `handmade.BY_HAND`; to be read only."""
    store = store_in(tmp_path_factory.mktemp("by-hand"))
    write_every_table(store)
    return store


@pytest.fixture(scope="session")
def tables_by_hand(written_by_hand: Store) -> dict[str, Table]:
    """Every table of `written_by_hand` by its name."""
    reader = View(written_by_hand, BY_HAND)
    return {name: spec.build(reader, spec.defaults) for name, spec in REPORTS.items() if spec.of_tables}


@pytest.fixture
def command(store: Store) -> Command:
    """The command line on a test's own empty store."""
    return Command(store)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path, Said]:
    """Table 1 of one seed of `tiny.toml`, made from nothing: store, scale file and what was said.

    To be read or copied, not changed.
    """
    root = tmp_path_factory.mktemp("made")
    scale = root / "one.toml"
    scale.write_text(TINY.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    store = store_in(root)
    return store, scale, Command(store)("table1", "--scale", str(scale))


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The base models of `mini.toml`, made in this process; to be read or copied, not changed."""
    store = store_in(tmp_path_factory.mktemp("mini"))
    said = Command(store)("table1", "--scale", str(MINI), "--only", "*/none/*")
    assert said.exit_code == 0, said.stderr
    return store


@pytest.fixture
def own_mini(mini: Store, store: Store) -> Store:
    """A copy of `mini`, to be changed."""
    return copied_to(store, mini)


@pytest.fixture(scope="session")
def digits():
    """The embedded dataset."""
    from benchmark.data import load

    return load("digits", Path())


@pytest.fixture(scope="session")
def make_network():
    """A function that makes a small untrained ResNet for digits, always the same."""
    import torch

    from benchmark.data.info import DIGITS
    from benchmark.models.resnet import ResNet

    def make():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = ResNet((1, 1, 1), 8, DIGITS)
        return model.to(memory_format=torch.channels_last).eval()

    return make


@pytest.fixture
def network(make_network):
    """A small untrained ResNet for digits in evaluation mode."""
    return make_network()


@pytest.fixture(scope="session")
def learned(make_network, digits):
    """Weights for `network` that get most digits right, and some under attack."""
    import torch
    from torch.nn.functional import cross_entropy

    model, split = make_network().train(), digits.train
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for rows in torch.randperm(len(split), generator=generator).split(64):
            x = split.images[rows].permute(0, 3, 1, 2) / 255
            noise = 0.3 * torch.randn(x.shape, generator=generator)
            loss = cross_entropy(model(x + noise), split.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.state_dict()


@pytest.fixture
def model(network, learned):
    """A small ResNet that gets some digits right, and fewer under attack, in evaluation mode."""
    network.load_state_dict(learned)
    return network


@pytest.fixture(scope="session")
def plain_pgd():
    """The plain PGD of the oracles from the suite's starts, on all images of a split at once."""
    from benchmark.engine.pgd import example_starts
    from plain_attack import plain_pgd

    def attack(model, split, threat, seed):
        assert not model.training
        x = split.images.permute(0, 3, 1, 2).float() / 255
        start = example_starts(seed, 0, len(split), tuple(x.shape[1:]), threat.eps)
        return plain_pgd(model, x, split.labels, threat, start)

    return attack


@pytest.fixture
def serve():
    """A web server: give it answers by path, get its address; `asked` are the paths asked for."""
    answers, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, content, length = answers.get(self.path, (404, b"", 0))
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Be silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"

    def answer(path, content, status=200, length=None):
        answers[path] = (status, content, len(content) if length is None else length)
        return address + path

    answer.asked = asked
    yield answer
    server.shutdown()
    thread.join()
    server.server_close()
