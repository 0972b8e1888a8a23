"""Sources: what they begin at, and that an image depends on its seed alone."""

import pytest
import torch

from virtassay.flow.source import Control, Noise, NoisyControl, SeededRandom, Source


def test_sources_begin_where_they_say():
    noise, control = torch.randn(2, 4, 2, 3, 3)
    chance = torch.tensor([0.1, 0.4, 0.6, 0.9])
    assert torch.equal(Noise()(noise, None, chance), noise)
    assert torch.equal(Control()(noise, control, chance), control)
    x0 = NoisyControl(sigma=0.5, probability=0.5)(noise, control, chance)
    assert torch.equal(x0[2:], control[2:]) and torch.allclose(x0[:2], control[:2] + 0.5 * noise[:2])


@pytest.mark.parametrize("source", [Control(), NoisyControl()])
def test_a_source_of_controls_needs_them(source):
    with pytest.raises(ValueError, match="begins at control images"):
        source(torch.randn(2, 1, 2, 2), None, torch.rand(2))


@pytest.mark.parametrize("arguments", [{"probability": 1.2}, {"probability": -0.1}, {"sigma": -1.0}])
def test_an_impossible_noisy_control_is_refused(arguments):
    with pytest.raises(ValueError, match="sigma ≥ 0 and a probability"):
        NoisyControl(**arguments)


def test_random_numbers_depend_on_their_seed_alone():
    together, alone = SeededRandom(torch.tensor([7, 8, 9])), SeededRandom(torch.tensor([8]))
    first = together.normal((3, 4, 4))
    assert torch.equal(first[1], alone.normal((3, 4, 4))[0]) and not torch.equal(first[0], first[1])
    assert torch.equal(together.uniform()[1], alone.uniform()[0])
    assert not torch.equal(together.normal((3, 4, 4)), first)
    assert SeededRandom(torch.tensor([], dtype=torch.long)).normal((2, 2)).shape == (0, 2, 2)


def test_what_a_source_needs_and_is():
    assert [source.needs_control for source in (Noise(), Control(), NoisyControl())] == [False, True, True]
    assert all(isinstance(source, Source) for source in (Noise(), Control(), NoisyControl()))
    assert (Noise(), Control()) == (Noise(), Control()), "values, not identities"
    assert NoisyControl() == NoisyControl(sigma=1.0, probability=0.5), "those of CellFlux"


def test_a_noisy_controls_noise_may_be_always_never_or_nothing():
    noise, control = torch.randn(2, 3, 2)
    chance = torch.tensor([0.0, 0.5, 0.999])
    assert torch.equal(NoisyControl(probability=0.0)(noise, control, chance), control)
    assert torch.equal(NoisyControl(probability=1.0)(noise, control, chance), control + noise)
    assert torch.equal(NoisyControl(sigma=0.0, probability=1.0)(noise, control, chance), control)
