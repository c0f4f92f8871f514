"""Which layers of a network draw their weights again, in which order, and that nothing of the training is left."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Generator, Tensor, nn

from fervis.errors import ConfigError
from fervis.models.random_weights import randomized_networks, weighted_layers


class Tangled(nn.Module):
    """Layers in another order than they run in, a parameter of its own, an attention, a norm, and an unused head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 8, 3))
        self.table = nn.Parameter(torch.randn(1, 16, 8))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.norm(self.conv(images)).flatten(2).transpose(1, 2) + self.table
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


@pytest.fixture
def tangled() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Tangled()
        for parameter in network.parameters():  # as a training leaves them: nowhere what they are initialized with
            parameter.data += 0.1 * torch.randn(parameter.shape)
        network.norm.running_mean += 0.5
    return network.eval()


def changed(one: nn.Module, other: nn.Module) -> set[str]:
    values = other.state_dict()
    return {name for name, value in one.state_dict().items() if not torch.equal(value, values[name])}


def steps_of(network: nn.Module, seed: int = 0, **how: object) -> list[tuple[str, nn.Module]]:
    generator = Generator().manual_seed(seed)
    found = randomized_networks(network, torch.ones(1, 1, 6, 6), generator, **how)  # pyright: ignore[reportArgumentType]
    return [(name, copy.deepcopy(one)) for name, one in found]


def test_layers_come_from_the_output_on_in_the_order_in_which_they_run(tangled: nn.Module):
    layers = weighted_layers(tangled, torch.rand(1, 1, 6, 6))
    names = [layer.name for layer in layers]
    assert names[:3] == ["head", "attention", "norm"]
    assert names[-1] == "model"
    assert any(name.startswith("conv") for name in names[3:-1])
    assert layers[1].owners == ("attention", "attention.out_proj")
    assert "unused" not in {owner for layer in layers for owner in layer.owners}


def test_cascading_leaves_nothing_of_the_training(tangled: nn.Module):
    before = copy.deepcopy(tangled)
    steps = steps_of(tangled, cascading=True)
    assert not changed(tangled, before)
    sizes = [len(changed(tangled, network)) for _, network in steps]
    assert sizes == sorted(sizes)
    assert changed(tangled, steps[0][1]) == {"head.weight", "head.bias"}
    learned = {name for name, _ in tangled.named_parameters() if not name.startswith("unused")}
    assert learned <= changed(tangled, steps[-1][1])
    assert "norm.running_mean" in changed(tangled, steps[-1][1])


def test_independent_steps_change_one_layer_each_by_the_same_draws(tangled: nn.Module):
    cascading = dict(steps_of(tangled, cascading=True))
    independent = dict(steps_of(tangled, cascading=False))
    assert list(cascading) == list(independent)
    assert changed(tangled, independent["norm"]) >= {"norm.weight", "norm.bias"}
    assert all(name.startswith("norm.") for name in changed(tangled, independent["norm"]))
    last = list(cascading)[-1]
    for name, network in independent.items():
        for changed_name in changed(tangled, network):
            assert torch.equal(network.state_dict()[changed_name], cascading[last].state_dict()[changed_name]), name


def test_steps_group_the_layers_and_the_last_is_wholly_random(tangled: nn.Module):
    (name, network), *others = steps_of(tangled, cascading=True, steps=1)
    assert not others
    every = steps_of(tangled, cascading=True)
    assert name == every[-1][0]
    assert not changed(network, every[-1][1])
    assert [name for name, _ in steps_of(tangled, cascading=True, steps=99)] == [name for name, _ in every]
    assert [name for name, _ in steps_of(tangled, cascading=True, steps=2)][-1] == every[-1][0]


def test_the_seed_decides_and_torchs_own_generator_is_left(tangled: nn.Module):
    state = torch.get_rng_state()
    first, second, other = (steps_of(tangled, seed, cascading=True)[-1][1] for seed in (1, 1, 2))
    assert not changed(first, second)
    assert "head.weight" in changed(first, other)
    torch.testing.assert_close(torch.get_rng_state(), state)


def test_a_network_without_weights_and_one_whose_copy_runs_the_original_are_refused(tangled: nn.Module):
    image, forward = torch.ones(1, 1, 6, 6), tangled.forward
    tangled.forward = lambda images: forward(images)
    for network in (nn.Flatten(), tangled):
        with pytest.raises(ConfigError, match="no layer that runs and whose weights could be drawn again"):
            weighted_layers(network, image)
