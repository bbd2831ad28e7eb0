"""Tensors on disk: round trips, the hash of their contents, and interrupted writes."""

import pytest
import safetensors.torch
import torch

from benchmark.engine.weights import (
    clone_state,
    load_tensors,
    module_of,
    save_tensors,
    weights_sha256,
)
from benchmark.errors import UserError
from benchmark.records.files import write_atomically


@pytest.fixture
def state(network):
    """Weights of a network in channels-last order, with counters of batches."""
    return network.state_dict()


@pytest.fixture
def path(tmp_path):
    """Where weights go; the folder does not exist yet."""
    return tmp_path / "cell" / "weights.safetensors"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', '{"a": 1e999}', "{", "3"])
def test_metadata_of_strangers_are_no_module(tmp_path, text):
    """Whatever they hold, they end nothing."""
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {"module": text})
    assert module_of(path) is None


class TestRoundTrip:
    """Saving and loading."""

    def test_tensors_and_metadata_come_back(self, state, path):
        """Names, types, shapes and bits survive, scalars and integers too."""
        save_tensors(path, state, {"fingerprint": "a b", "log": '[{"epoch": 1}]'})
        loaded, metadata = load_tensors(path)
        assert metadata == {"fingerprint": "a b", "log": '[{"epoch": 1}]'}
        assert loaded.keys() == state.keys()
        for name, tensor in state.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name], tensor)

    def test_values_that_are_no_numbers_come_back(self, path):
        """NaN, infinities and negative zero keep their bits."""
        odd = torch.tensor([float("nan"), float("inf"), float("-inf"), -0.0])
        save_tensors(path, {"odd": odd}, {})
        loaded, metadata = load_tensors(path)
        assert metadata == {}
        assert torch.equal(loaded["odd"].view(torch.int32), odd.view(torch.int32))

    def test_saving_again_replaces(self, path):
        for value in (1.0, 2.0):
            save_tensors(path, {"x": torch.tensor(value)}, {"value": str(value)})
        assert load_tensors(path)[1] == {"value": "2.0"}
        assert list(path.parent.iterdir()) == [path]

    def test_gradients_do_not_matter(self, network, path):
        save_tensors(path, dict(network.named_parameters()), {})
        assert not any(tensor.requires_grad for tensor in load_tensors(path)[0].values())


class TestDamage:
    """Files that are not whole."""

    @pytest.mark.parametrize("kept", [0, 4, 8, 100, -1000, -1])
    def test_truncated_file_is_refused(self, state, path, kept):
        """One line names the file and says what to do."""
        save_tensors(path, state, {"fingerprint": "x"})
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(UserError, match=f"^.*'{path}'.*delete it.*$"):
            load_tensors(path)

    def test_every_flipped_bit_is_noticed(self, path):
        """A sealed file is refused, or gives what was written in spite of it: never anything else."""
        tensors, metadata = {"x": torch.tensor([1.5, -2.0]), "n": torch.tensor(7)}, {"epoch": "3"}
        save_tensors(path, tensors, metadata)
        whole, refused = path.read_bytes(), 0
        for place in range(8 * len(whole)):
            content = bytearray(whole)
            content[place // 8] ^= 1 << place % 8
            write_atomically(path, content)
            try:
                loaded, said = load_tensors(path, sealed=True)
            except UserError:
                refused += 1
            else:
                assert (weights_sha256(loaded), said) == (weights_sha256(tensors), metadata)
        assert refused > 0.9 * 8 * len(whole)

    def test_file_without_a_seal(self, state, path):
        """It is read where that is enough, and refused where a seal is asked for."""
        write_atomically(path, safetensors.torch.save({"x": torch.ones(2)}, {"epoch": "3"}))
        assert load_tensors(path)[1] == {"epoch": "3"}
        with pytest.raises(UserError, match=r"weights\.safetensors' has no hash of its contents"):
            load_tensors(path, sealed=True)

    def test_other_content_is_refused(self, path):
        """A file of something else is not weights, nor is one that is not there."""
        path.parent.mkdir()
        path.write_bytes(b"PK\x03\x04 this is an archive of something else entirely")
        for file in (path, path.with_name("missing")):
            with pytest.raises(UserError, match="not a readable safetensors file"):
                load_tensors(file)


class TestHash:
    """What identifies weights."""

    def test_memory_order_does_not_matter(self, state):
        contiguous = {name: tensor.contiguous() for name, tensor in reversed(state.items())}
        assert state["layer1.0.conv1.weight"].stride() != (contiguous["layer1.0.conv1.weight"].stride())
        assert weights_sha256(contiguous) == weights_sha256(state)

    def test_content_matters(self):
        """A name, a type, a shape, one value or its sign changes the hash."""
        plain = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
        one = torch.zeros(2, 3)
        one[1, 2] = 1e-30
        others = [
            {"a": plain["a"], "c": plain["b"]},
            {"a": plain["b"], "b": plain["a"]},
            {"a": plain["a"].int(), "b": plain["b"]},
            {"a": plain["a"].double(), "b": plain["b"]},
            {"a": plain["a"].view(3, 2), "b": plain["b"]},
            {"a": plain["a"].view(6), "b": plain["b"]},
            {"a": -plain["a"], "b": plain["b"]},
            {"a": one, "b": plain["b"]},
            {"a": plain["a"]},
        ]
        assert len({weights_sha256(state) for state in [plain, *others]}) == len(others) + 1


def test_clone_is_independent(network):
    """Later training does not reach a cloned state."""
    kept = clone_state(network.state_dict())
    before = weights_sha256(kept)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1)
    assert weights_sha256(kept) == before
    assert weights_sha256(network.state_dict()) != before
    assert not any(tensor.requires_grad for tensor in kept.values())
