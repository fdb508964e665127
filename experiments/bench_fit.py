"""Speed of the fit beside a textbook formulation, in the same run.

    python experiments/bench_fit.py

All of a step is timed: noise, entropy model, synthesis, gradient, clipping, Adam, best-so-far. The
textbook formulation computes the same loss with `lax.conv_general_dilated` in NHWC (a full 7x7
masked kernel for the context, as in C3's code) and takes one jitted step per call from Python, with
the schedule on the host. Ours and the textbook are measured in turns, and the medians are compared,
since machines are shared and noisy. Mpx/s is image pixels per second of fitting. Accelerators get
larger batches, and a file of their own: results/bench_fit_DEVICE.json.
"""

import argparse
import re
import statistics
import time

import common  # sets up JAX's devices first
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from overfit.engine import fit
from overfit.fitting import origin
from overfit.fitting.groups import Group, Options, Request, checked, start
from overfit.method import Anneal, Aux
from overfit.methods.c3 import model
from overfit.nn import distributions, vectors

# (height, width, instances, whether the textbook takes part)
ON_CPU = ((64, 48, 1, True), (256, 256, 1, True), (512, 768, 1, True), (256, 256, 6, False))
ON_ACCELERATORS = (
    (256, 256, 52, False), (512, 768, 8, False), (256, 256, 1, True), (512, 768, 1, True),
    (64, 48, 1, True),
)  # fmt: skip

# -- The textbook ----------------------------------------------------------------------------------


def conv(x, w, padding):
    """x [h, w, in], w [k, k, in, out]."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x[None], w, (1, 1), padding, dimension_numbers=dimensions)[0]


def pixelwise(weights, i, x):
    return conv(x, weights[f"w{i}"].T[None, None], "VALID") + weights[f"b{i}"]


def textbook_loss(params, signal, key, anneal, lmbda, config):
    """`model.loss` of c3-kodak by convolutions."""
    _, height, width = signal.shape
    shapes = config.latents.shapes(height, width)
    bins = model.quantized(params["latents"], shapes, key, anneal, config)
    entropy, synthesis = params["entropy"], params["synthesis"]
    q_step, shift = config.latents.q_step, config.entropy.log_scale_shift
    # The 24 causal taps of the first layer in a 7x7 kernel whose other taps are zero.
    kernel = jnp.zeros((49, 1, 18)).at[:24, 0].set(entropy["w0"].T).reshape(7, 7, 1, 18)
    bits = 0.0
    for plane in vectors.split(bins, shapes):
        x = conv(q_step * plane[..., None], kernel, "SAME") + entropy["b0"]
        x = pixelwise(entropy, 1, jax.nn.gelu(x))
        x = pixelwise(entropy, 2, jax.nn.gelu(x))
        scale = jnp.exp(-0.5 * jnp.clip(x[..., 1] + shift, -10.0, 13.8))
        bits += distributions.laplace_bits(plane, x[..., 0] / q_step, scale / q_step).sum()
    up = [
        jax.image.resize(q_step * plane, (height, width), "bilinear")
        for plane in vectors.split(bins, shapes)
    ]
    x = jnp.stack(up, axis=-1)
    x = jax.nn.gelu(pixelwise(synthesis, 0, x))
    x = jax.nn.gelu(pixelwise(synthesis, 1, x))
    x = pixelwise(synthesis, 2, x)
    for i in range(2):
        w = synthesis[f"residual_w{i}"].reshape(3, 3, 3, 3).transpose(2, 3, 1, 0)
        padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
        x = x + conv(padded, w, "VALID") + synthesis[f"residual_b{i}"]
        x = jax.nn.gelu(x) if i == 0 else x
    distortion = jnp.mean(jnp.square(jnp.clip(x, 0, 1) - signal.transpose(1, 2, 0)))
    return distortion + lmbda * bits / (height * width), Aux(distortion, bits)


class Textbook:
    """One jitted step per call, schedule on the host."""

    def __init__(self, group):
        states, self.tasks = start(group)
        self.params = jax.tree.map(lambda a: a[0], states.params)
        self.signal, config = self.tasks.signal[0], group.architecture
        adam = optax.chain(optax.clip_by_global_norm(0.1), optax.scale_by_adam())
        self.moments = adam.init(self.params)

        @jax.jit
        def step(params, moments, key, anneal, lr):
            loss = jax.value_and_grad(textbook_loss, has_aux=True)
            (value, _), gradient = loss(params, self.signal, key, anneal, 1e-3, config)
            direction, moments = adam.update(gradient, moments)
            return jax.tree.map(lambda p, d: p - lr * d, params, direction), moments, value

        self._step, self.taken = step, 0

    def run(self, steps):
        for _ in range(steps):
            progress = self.taken / 1000
            anneal = Anneal(
                jnp.float32(0.3 - 0.2 * progress), jnp.float32(2 - progress), jnp.bool_(False)
            )
            lr = jnp.float32(1e-2 * 0.5 * (1 + np.cos(np.pi * progress)))
            key = jax.random.fold_in(jax.random.key(0), self.taken)
            self.params, self.moments, value = self._step(
                self.params, self.moments, key, anneal, lr
            )
            self.taken += 1
        jax.block_until_ready(value)


# -- Ours ------------------------------------------------------------------------------------------


class Ours:
    """Chunks of steps of the engine."""

    def __init__(self, group):
        states, tasks = start(group)
        self.states, self.tasks = fit.spread(states, tasks)
        self.group = group

    def run(self, steps):
        self.states = jax.block_until_ready(
            fit.advance(
                self.states, self.tasks, steps, self.group.codec.loss, self.group.architecture
            )
        )


def check_same_loss(group) -> float:
    """Relative difference of the two formulations' gradients at random parameters."""
    states, tasks = start(group)
    keys = iter(jax.random.split(jax.random.key(7), 64))
    params = jax.tree.map(
        lambda a: a[0] + 0.1 * jax.random.normal(next(keys), a[0].shape), states.params
    )
    anneal = Anneal(jnp.float32(0.3), jnp.float32(2.0), jnp.bool_(False))
    arguments = (tasks.signal[0], jax.random.key(1), anneal, 1e-3, group.architecture)
    ours = jax.jit(jax.grad(lambda p: model.loss(p, None, *arguments)[0]))(params)
    theirs = jax.jit(jax.grad(lambda p: textbook_loss(p, *arguments)[0]))(params)
    difference = optax.global_norm(jax.tree.map(jnp.subtract, ours, theirs))
    return float(difference / optax.global_norm(theirs))


def measure(runner, steps, repeats):
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        runner.run(steps)
        seconds.append((time.perf_counter() - begin) / steps)
    return seconds


def peak_bytes() -> int | None:
    """Of the device's memory, by all that has run so far; None where it does not tell."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="per repeat")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    options = Options(steps=1000)
    rows = []
    on_cpu = jax.default_backend() == "cpu"
    device = re.sub(r"\W+", "_", origin.device().lower())
    name = "bench_fit" if on_cpu else f"bench_fit_{device}"
    for height, width, instances, textbook in ON_CPU if on_cpu else ON_ACCELERATORS:
        images = [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(instances)]
        group = Group([checked(Request(image, options)) for image in images])
        runners = {"ours": Ours(group)}
        row = {"height": height, "width": width, "instances": instances}
        if textbook:
            runners["textbook"] = Textbook(group)
            if height * width < 10_000:  # the two are one function; a small image shows it
                row["gradient_difference"] = check_same_loss(group)
        times: dict[str, list[float]] = {name: [] for name in runners}
        for runner in runners.values():
            runner.run(1)
        if not on_cpu:
            row["peak_bytes_so_far"] = peak_bytes()
        for _ in range(arguments.repeats):
            for key, runner in runners.items():
                times[key] += measure(runner, arguments.steps, 1)
        for key, seconds in times.items():
            median = statistics.median(seconds)
            row[key] = {
                "seconds_per_step": median,
                "all": seconds,
                "steps_per_second": 1 / median,
                "mpx_per_second": height * width * instances / median / 1e6,
            }
        if textbook:
            row["speedup"] = row["textbook"]["seconds_per_step"] / row["ours"]["seconds_per_step"]
        rows.append(row)
        print({k: v for k, v in row.items() if k not in ("ours", "textbook")}, flush=True)
        for key in runners:
            print("   ", key, {k: v for k, v in row[key].items() if k != "all"}, flush=True)
        common.save(name, rows, devices=jax.local_device_count())


if __name__ == "__main__":
    main()
