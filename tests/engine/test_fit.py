"""The engine on a toy method whose steps can be foreseen, and on a tiny C3."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from overfit.engine import fit
from overfit.engine.schedule import Schedule
from overfit.method import Aux
from overfit.methods.c3 import model
from overfit.methods.c3.config import C3Config, Entropy, Latents, Synthesis

WHOLE_NUMBERS = ("steps", "stage2_steps", "patience")
ZERO = np.zeros(2, np.float32)


def toy_loss(params, base, signal, key, anneal, lmbda, config):
    """Squared distance to the target, with noise in stage 1; NaN beyond the barrier.

    `config` "misled": the gradient points away from the target, so that no step improves anything.
    """
    del base
    x = params["x"]  # (2,)
    noise = jnp.where(anneal.hard, 0.0, 0.01 * jax.random.normal(key, x.shape))
    distortion = jnp.sum(jnp.square(x + noise - signal["target"]))
    bits = jnp.sum(jnp.abs(x))
    loss = distortion + lmbda * bits
    if config == "misled":
        loss = 2 * jax.lax.stop_gradient(loss) - loss
    return jnp.where((x > signal["barrier"]).any(), jnp.nan, loss), Aux(distortion, bits)


def instance(seed=0, target=1.0, barrier=np.inf, lmbda=0.0, x=ZERO, **schedule):
    """(state, task) of the toy at its start."""
    schedule = Schedule(**{"steps": 40, "stage2_steps": 10, "lr": 0.1} | schedule)
    arrays = Schedule(
        *(
            np.asarray(value, np.int32 if name in WHOLE_NUMBERS else np.float32)
            for name, value in schedule._asdict().items()
        )
    )
    signal = {"target": np.float32(target), "barrier": np.float32(barrier)}
    state = fit.initial_state({"x": jnp.asarray(x)}, jax.random.key(seed), arrays)
    return state, fit.Task(None, signal, arrays, np.float32(lmbda))


def batch(*instances):
    """(states, tasks) of several, ready for `fit.advance`."""
    stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *instances)
    return fit.spread(*stacked)


def run(states, tasks, steps=1000, config=None, loss_fn=toy_loss):
    """The states as arrays on the host."""
    states = fit.advance(states, tasks, steps, loss_fn, config)
    return jax.tree.map(np.asarray, states)


def pick(tree, i):
    return jax.tree.map(lambda x: x[i], tree)


def test_networks_have_a_learning_rate_of_their_own():
    """The first step of Adam is as long as its rate, whatever the gradient."""
    loss = lambda params, *rest, config: toy_loss(  # noqa: E731
        {"x": params["x"] + params["latents"]}, *rest, config
    )
    state, task = instance(lr=0.1, networks_lr=0.2, clip=10.0)
    params = {"x": jnp.zeros(2), "latents": jnp.zeros(2)}
    state = fit.initial_state(params, jax.random.key(0), task.schedule)
    states = run(*batch((state, task)), steps=1, loss_fn=loss)
    np.testing.assert_allclose(states.params["latents"], 0.1, rtol=1e-3)
    np.testing.assert_allclose(states.params["x"], 0.02, rtol=1e-3)


# -- Batches ---------------------------------------------------------------------------------------

VARIED = [
    {"seed": 1, "lmbda": 0.3},
    {"seed": 2, "lr": 0.02, "clip": 10.0, "target": 3.0},
    {"seed": 3, "steps": 17, "stage2_steps": 3, "temperature_start": 0.7},
]


def test_each_instance_of_a_batch_has_the_run_that_it_has_alone():
    together = run(*batch(*(instance(**options) for options in VARIED)))
    assert together.step.tolist() == [50, 50, 20]
    assert (together.best_loss > 0).all()
    for i, options in enumerate(VARIED):
        alone = run(*batch(instance(**options)))
        chex.assert_trees_all_close(pick(together, i), pick(alone, 0), rtol=1e-5, atol=1e-6)


def test_nothing_that_differs_between_instances_or_runs_compiles_again():
    counted = chex.assert_max_traces(toy_loss, n=1)
    for options in VARIED:
        states, tasks = batch(instance(**options), instance())
        for steps in (1, 2, 1000):
            states = fit.advance(states, tasks, steps, counted, None)
        states, tasks = fit.spread(fit.rewind(states, tasks, 0.5), tasks)
        run(states, tasks._replace(lmbda=2 * tasks.lmbda), loss_fn=counted)


def test_chunks_of_any_size_give_the_run_in_one_piece_to_the_last_bit():
    states, tasks = batch(*(instance(**options) for options in VARIED))
    for steps in (0, 1, 7, 30, 1, 100):
        states = fit.advance(states, tasks, steps, toy_loss, None)
    once = run(*batch(*(instance(**options) for options in VARIED)))
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, states), once)


def test_each_instance_can_take_its_own_number_of_steps_in_one_program():
    """Some of a batch stop to be compared while others go on, and none of them can tell."""
    counted = chex.assert_max_traces(toy_loss, n=1)
    states, tasks = batch(*(instance(**options) for options in VARIED))
    states = fit.advance(states, tasks, np.array([7, 0, -3]), counted, None)
    assert fit.report(states, tasks).step.tolist() == [7, 0, 0]
    states = fit.advance(states, tasks, np.array([50, 30, 100]), counted, None)
    assert fit.report(states, tasks).step.tolist() == [50, 30, 20]
    states = jax.tree.map(np.asarray, fit.advance(states, tasks, 100, counted, None))
    chex.assert_trees_all_equal(states, run(*batch(*(instance(**o) for o in VARIED))))


def test_the_rounded_loss_has_no_noise_and_leaves_the_fit_as_it_is():
    states, tasks = batch(instance(lmbda=0.5), instance(seed=2, barrier=-1.0))
    states = fit.advance(states, tasks, 5, toy_loss, None)
    before = jax.tree.map(np.array, states)
    losses = fit.rounded_loss(states, tasks, toy_loss, None)
    x = before.params["x"][0]
    assert losses[0] == pytest.approx(np.sum((x - 1) ** 2) + 0.5 * np.sum(np.abs(x)), rel=1e-5)
    assert losses[1] == np.inf  # beyond its barrier from the start
    chex.assert_trees_all_equal(jax.tree.map(np.array, states), before)


def test_a_finished_instance_stays_as_it_is():
    states, tasks = batch(instance(steps=3, stage2_steps=2), instance())
    states = fit.advance(states, tasks, 5, toy_loss, None)
    report = fit.report(states, tasks)
    assert report.step.tolist() == [5, 5]
    assert report.running.tolist() == [False, True]
    before = pick(jax.tree.map(np.array, states), 0)
    chex.assert_trees_all_equal(pick(run(states, tasks), 0), before)


def test_seeds_make_different_runs_and_equal_seeds_equal_ones():
    result = run(*batch(instance(seed=1), instance(seed=1), instance(seed=2)), 20)
    np.testing.assert_array_equal(result.params["x"][0], result.params["x"][1])
    assert (result.params["x"][0] != result.params["x"][2]).all()


def test_batches_are_spread_over_as_many_devices_as_divide_them(two_devices):
    devices = jax.local_device_count()
    for count in (devices, 3 * devices):
        states, _ = batch(*[instance()] * count)
        assert fit.layout_for(states) == fit.Layout(devices, 1)
        assert len(states.step.sharding.device_set) == devices


def test_only_large_instances_share_their_strips(two_devices, monkeypatch):
    states, _ = batch(instance())
    assert fit.layout_for(states) == fit.Layout(1, 1)
    monkeypatch.setattr(fit, "_SHARED_SIZE", 1)
    strips = jax.local_device_count() if jax.default_backend() == "cpu" else 1
    assert fit.layout_for(states) == fit.Layout(1, strips)


# -- Stages ----------------------------------------------------------------------------------------


def test_stage_1_is_adam_on_the_clipped_gradient():
    # Far from the target, where the noise does not matter: Adam's first steps have length lr.
    result = run(*batch(instance(target=1e4, clip=0.1, lr=0.5, lr_end=1.0)), 4)
    np.testing.assert_allclose(result.params["x"], 2.0, rtol=1e-4)
    norm = np.sqrt(np.square(result.moments.mu["x"]).sum())
    assert norm == pytest.approx(0.1 * (1 - 0.9**4), rel=1e-3)


def test_the_best_of_stage_2_counts_however_low_the_noise_made_the_loss_of_stage_1():
    options = {"seed": 1, "target": 0.0, "steps": 1, "lr": 0.0, "stage2_lr": 1.0, "x": ZERO + 0.25}
    states, tasks = batch(instance(**options, patience=100))
    states = fit.advance(states, tasks, 1, toy_loss, None)
    assert float(states.best_loss[0]) < 0.125
    states = fit.advance(states, tasks, 1, toy_loss, None)
    assert float(states.best_loss[0]) == 0.125
    np.testing.assert_array_equal(states.best_params["x"], 0.25)
    result = run(states, tasks)  # overshoots at first
    assert result.step == 11
    np.testing.assert_allclose(result.best_loss[0], np.square(result.best_params["x"]).sum())
    assert result.best_loss[0] <= 0.125


MISLED = {"steps": 2, "stage2_steps": 100, "lr": 0.0, "x": ZERO + 0.5, "stage2_lr": 0.5}


def test_a_plateau_lowers_the_learning_rate_and_goes_back_to_the_best():
    states, tasks = batch(instance(**MISLED, patience=3, decay=0.5))
    learning_rates, places = [], []
    for _ in range(9):
        states = fit.advance(states, tasks, 1, toy_loss, "misled")
        learning_rates.append(float(states.stage2_lr[0]))
        places.append(float(states.params["x"][0, 0]))
    # Two steps of stage 1; the first step of stage 2 is its best; then three without improvement.
    assert learning_rates == [0.5] * 5 + [0.25] * 3 + [0.125]
    assert [place == 0.5 for place in places] == [True] * 2 + [False] * 3 + [True] + [False] * 2 + [
        True
    ]
    assert float(states.best_loss[0]) == 0.5


def test_stage_2_ends_when_the_learning_rate_is_too_small():
    states, tasks = batch(
        instance(**MISLED, patience=1, decay=0.5, min_lr=0.1),
        instance(**MISLED, patience=1, decay=1.0, min_lr=0.1),  # no decay: all steps are taken
    )
    result = run(states, tasks, config="misled")
    np.testing.assert_allclose(result.stage2_lr, [0.0625, 0.5])
    assert result.step.tolist() == [6, 102]


def test_a_rewound_run_takes_the_last_part_of_stage_1_again_from_the_best():
    states, tasks = batch(instance(stage2_steps=4), instance())
    states = fit.advance(states, tasks, 1000, toy_loss, None)
    first = jax.tree.map(np.array, states)
    tasks = tasks._replace(lmbda=tasks.lmbda + 1.0)
    states, tasks = fit.spread(fit.rewind(states, tasks, 0.8), tasks)
    assert states.step.tolist() == [32, 32]
    np.testing.assert_array_equal(states.params["x"], first.best_params["x"])
    for _ in range(3):
        states = fit.advance(states, tasks, 10, toy_loss, None)
    assert states.step.tolist() == [44, 50]
    assert (states.best_params["x"] < first.best_params["x"]).all()  # of a higher lambda
    # The state is donated to the program, and must take nothing of the task with it.
    np.testing.assert_array_equal(tasks.schedule.stage2_lr, np.float32(1e-4))


# -- Failures --------------------------------------------------------------------------------------


def test_a_non_finite_loss_takes_only_its_instance_back_at_half_the_learning_rate():
    # The first step goes from 0 to 0.7, beyond the barrier; from there the loss is NaN.
    fragile = {"target": 0.3, "lr": 0.7, "lr_end": 1.0}
    states, tasks = batch(instance(**fragile, barrier=0.6), instance(**fragile), instance(seed=5))
    states = fit.advance(states, tasks, 2, toy_loss, None)
    report = fit.report(states, tasks)
    assert report.failures.tolist() == [1, 0, 0]
    assert report.step.tolist() == [1, 2, 2]
    assert np.isfinite(report.loss).all()
    np.testing.assert_array_equal(states.lr_scale, [0.5, 1.0, 1.0])
    np.testing.assert_array_equal(states.params["x"][0], 0.0)
    result = run(states, tasks)
    assert result.failures[0] < 10 and result.step[0] == 50
    assert np.isfinite(result.best_loss).all()
    alone = run(*batch(instance(seed=5)))
    chex.assert_trees_all_close(pick(result, 2), pick(alone, 0), rtol=1e-5, atol=1e-6)


def test_a_hopeless_instance_is_given_up_and_holds_up_no_other():
    states, tasks = batch(instance(target=np.nan), instance())
    result = run(states, tasks)
    assert result.failures.tolist() == [fit.MAX_FAILURES + 1, 0]
    assert result.step.tolist() == [0, 50]
    assert not fit.running(result, tasks.schedule).any()
    np.testing.assert_array_equal(result.params["x"][0], 0.0)


# -- A method of the package -----------------------------------------------------------------------

# 30 x 36 positions do not fit one strip, so that devices have strips to share.
TINY = C3Config(
    latents=Latents(num_grids=2),
    entropy=Entropy(widths=(3,), context=1),
    synthesis=Synthesis(widths=(3,), residual_layers=0),
)


def tiny_c3(picture, seed):
    signal = jnp.asarray(picture(30, 36, seed=seed).transpose(2, 0, 1), jnp.float32) / 255
    _, task = instance(steps=6, stage2_steps=2, lr=0.02, lmbda=1e-3)
    params = model.init(jax.random.key(seed), signal, None, TINY)
    state = fit.initial_state(params, jax.random.key(seed), task.schedule)
    return state, task._replace(signal=signal)


def test_images_fitted_together_get_what_each_gets_alone(picture, monkeypatch):
    monkeypatch.setattr(fit, "_SHARED_SIZE", 1)
    together = run(
        *batch(tiny_c3(picture, 0), tiny_c3(picture, 1)), config=TINY, loss_fn=model.loss
    )
    assert together.step.tolist() == [8, 8]
    alone = run(*batch(tiny_c3(picture, 1)), config=TINY, loss_fn=model.loss)
    # With one image the devices share its strips, and sums come out in another order.
    chex.assert_trees_all_close(
        pick(together.best_params, 1), pick(alone.best_params, 0), rtol=1e-2, atol=1e-3
    )
    np.testing.assert_allclose(together.best_loss[1], alone.best_loss[0], rtol=1e-3)
    assert together.bits[0] != together.bits[1]
