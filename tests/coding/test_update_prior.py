"""The prior of parameter changes: published costs, and a code that is as short as it says."""

import numpy as np
import pytest

from overfit.coding import laplace, update_prior
from overfit.coding.parameters import Prior, Quantized, quantize
from overfit.errors import UserError

PRIORS = {
    name: Prior(Quantized(np.arange(n) - 3, 9), 0) for name, n in (("a", 40), ("b", 5), ("c", 300))
}


def changes(e=8):
    rng = np.random.default_rng(0)
    moved = {"a": rng.integers(-2, 3, 40), "b": np.zeros(5), "c": np.zeros(300)}
    moved["c"][::50] = (1, -7, 90, -4000, 2, 31)
    return {
        name: quantize(prior.center.k * 2.0**-9 + moved[name] * 2.0**-e, e, prior)
        for name, prior in PRIORS.items()
    }


def test_costs_are_the_published_ones():
    """Of t = .005, sigma = .05, alpha = 1000: .0053, 9.49, 14.6, 15.3 bits; here sigma / t = 8."""
    row = update_prior.SLABS.index(8.0) * len(update_prior.ALPHAS)
    row += update_prior.ALPHAS.index(1000.0)
    costs = -np.log2((update_prior.frequencies()[row] + 1) / laplace.TOTAL)
    at = [float(costs[laplace.REACH + k]) for k in (0, 1, 2, 10)]
    assert at == pytest.approx([0.0053, 9.49, 14.3, 15.4], abs=0.05)
    assert update_prior.frequencies().sum(axis=1).tolist() == [
        laplace.TOTAL - laplace.SYMBOLS
    ] * len(update_prior.frequencies())


def test_what_goes_in_comes_out_at_the_promised_cost():
    encoder = laplace.Encoder()
    update_prior.code_changes(encoder, changes(), PRIORS)
    data = encoder.finish()
    read = update_prior.code_changes(laplace.Decoder(data), None, PRIORS)
    for name, change in changes().items():
        assert np.array_equal(read[name].k, change.k) and read[name].e == 8
        assert np.array_equal(read[name].absolute().k, change.absolute().k)
    _, bits = update_prior.best_row([change.k for change in changes().values()])
    assert 8 * len(data) <= bits + 40


def test_no_change_at_all_costs_a_bit_per_array():
    none = {name: quantize(prior.center.value(), 8, prior) for name, prior in PRIORS.items()}
    encoder = laplace.Encoder()
    update_prior.code_changes(encoder, none, PRIORS)
    assert len(encoder.finish()) <= 4
    assert update_prior.best_row([change.k for change in none.values()])[1] == 3


def test_data_that_end_too_early_are_refused():
    many = {str(i): Prior(Quantized(np.zeros(4000, np.int64), 9), 0) for i in range(20)}
    with pytest.raises(UserError):
        update_prior.code_changes(laplace.Decoder(b"\xff" * 12), None, many)
