"""Trains variants of STAT-SSF side by side: on the same windows, for equally many steps.

    python experiments/stat_ssf_bases.py clips:SEPTUPLETS STILLS -o bases --steps 10000

Each is what `overfit pretrain --method stat-ssf --variant V --width W --steps N --set ...` makes of
the same inputs; here the windows, which cores make while an accelerator trains, are made once for
all of them. A base is written as bases/VARIANT.ovb when it is done. How fast that was goes to
experiments/results/stat_ssf_bases.json: the rate of all trainings together once the last has been
compiled, beside that of float32 matrix products in the same process.
"""

import argparse
import threading
import time
from pathlib import Path

import common  # sets up JAX's devices first
import jax

from overfit import settings
from overfit.bases.base import pack
from overfit.commands.common import prepare_jax
from overfit.io.atomic import atomic_write
from overfit.io.datasets import find_all
from overfit.meta.pretrain import Plan, batches_of, pretrain
from overfit.methods.stat_ssf import complexity
from overfit.methods.stat_ssf.architecture import parts
from overfit.methods.stat_ssf.config import PRESETS, VARIANTS

TOLD = 250  # steps
SIDE, PRODUCTS = 8192, 20  # of the products, one after the other


def product_macs() -> float:
    """Per second, of products of float32 matrices as JAX computes them here."""
    side = SIDE if jax.default_backend() != "cpu" else SIDE // 8
    matrix = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(lambda a, b: a @ b)
    jax.block_until_ready(product(matrix, matrix))
    began = time.perf_counter()
    result = matrix
    for _ in range(PRODUCTS):
        result = product(matrix, result)
    jax.block_until_ready(result)
    return PRODUCTS * side**3 / (time.perf_counter() - began)


def step_macs(config) -> float:
    """Of a training step: three times those of its forward pass."""
    macs, training = complexity.frame_macs(config), config.training
    encoders = {part: complexity.encoder(part, config) for part in parts(config)}
    intra = macs["intra"] + encoders.pop("intra")
    predicted = macs["predicted"] + sum(encoders.values())
    pixels = training.batch * training.crop**2
    return 3 * pixels * (intra + (training.frames - 1) * predicted)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("-o", "--output", required=True, help="folder of the bases")
    parser.add_argument(
        "--variants", nargs="+", default=["ssf", "ssf-sp", "stat-ssf", "stat-ssf-sp"]
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--workers", type=int, help="processes that make windows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    prepare_jax()
    chosen = settings.parse_assignments(arguments.set) | {
        "transform.width": arguments.width,
        "transform.latents": arguments.width * 3 // 2,
        "training.steps": arguments.steps,
    }
    plans = {
        variant: Plan("stat-ssf", "stat-ssf-small", VARIANTS[variant] | chosen)
        for variant in arguments.variants
    }
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    instances = find_all(arguments.inputs)
    batches = batches_of(instances, next(iter(plans.values())), arguments.workers)
    began = time.perf_counter()
    steps: dict[str, list[float]] = {variant: [] for variant in plans}  # when each was done
    print(f"{jax.devices()[0].device_kind}, {len(instances)} clips and stills", flush=True)

    def train(variant: str) -> None:
        def tell(progress) -> None:
            steps[variant].append(time.perf_counter() - began)
            if progress.step == 1 or progress.step % TOLD == 0:
                print(
                    f"{time.perf_counter() - began:6.1f} s  {variant:12} step {progress.step}  "
                    f"loss {progress.loss:.4f}  {progress.bpp:.3f} bpp  {progress.psnr:.2f} dB  "
                    f"{progress.steps_per_second:.1f} steps/s",
                    flush=True,
                )

        base = pretrain(instances, plans[variant], progress=tell, batches=batches)
        with atomic_write(output / f"{variant}.ovb") as file:
            file.write(pack(base))

    threads = [threading.Thread(target=train, args=(variant,)) for variant in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batches.close()
    # From when all were compiled to when the first was done.
    start, end = (max(s[0] for s in steps.values()), min(s[-1] for s in steps.values()))
    counts = {v: sum(start < moment <= end for moment in s) for v, s in steps.items()}
    configs = {v: settings.override(PRESETS["stat-ssf-small"], p.set) for v, p in plans.items()}
    training = configs[arguments.variants[0]].training
    macs = sum(counts[v] * step_macs(configs[v]) for v in plans) / (end - start)
    peak = product_macs()
    results = {
        "device": jax.devices()[0].device_kind,
        "seconds": {variant: s[-1] for variant, s in steps.items()},
        "compiled_after": {variant: s[0] for variant, s in steps.items()},
        "steps_per_second": {v: count / (end - start) for v, count in counts.items()},
        "frames_per_second": sum(counts.values())
        * training.batch
        * training.frames
        / (end - start),
        "window": [training.batch, training.frames, training.crop, training.crop],
        "macs_per_second": macs,
        "share_of_matmul": macs / peak,
        "matmul_macs_per_second": peak,
    }
    common.save("stat_ssf_bases", results, settings=vars(arguments))


if __name__ == "__main__":
    main()
