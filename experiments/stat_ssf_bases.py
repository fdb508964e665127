"""Trains variants of STAT-SSF side by side: on the same windows, for equally many steps.

    python experiments/stat_ssf_bases.py clips:SEPTUPLETS STILLS -o bases --steps 10000
    python experiments/stat_ssf_bases.py clips:SEPTUPLETS STILLS -o bases --seconds 300

Each is what `overfit pretrain --method stat-ssf --variant V --steps N --set ...` makes of
the same inputs; here the windows, which cores make while an accelerator trains, are made once for
all of them. A base is written as bases/VARIANT.ovb when it is done. With --seconds there are as
many steps as the rate of the first ones promises; the card of a base has their number.

How fast that was goes to experiments/results/stat_ssf_bases.json: the rate while all were at work,
beside that of float32 matrix products in the same process.
"""

import argparse
import threading
import time
from pathlib import Path

import common  # sets up JAX's devices first
import jax

from overfit import settings
from overfit.bases import library
from overfit.bases.base import pack
from overfit.commands.common import prepare_jax
from overfit.io.atomic import atomic_write
from overfit.io.datasets import find_all
from overfit.meta.pretrain import Plan, batches_of, pretrain
from overfit.methods.stat_ssf import complexity
from overfit.methods.stat_ssf.architecture import parts
from overfit.methods.stat_ssf.config import PRESETS, VARIANTS

TOLD = 250  # steps
FIRST = 120  # steps that the rate is told from, and that are not used
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


def step_macs(frames: int, pixels: int, config) -> float:
    """Of a step on so many frames of so many pixels: forward, and twice as many backward."""
    macs = complexity.frame_macs(config)
    encoders = {part: complexity.encoder(part, config) for part in parts(config)}
    intra = macs["intra"] + encoders.pop("intra")
    predicted = macs["predicted"] + sum(encoders.values())
    return 3 * pixels * (intra + (frames - 1) * predicted)


def training_macs(config) -> float:
    """Of a step of training."""
    training = config.training
    return step_macs(training.frames, training.batch * training.crop**2, config)


Done = dict[str, list[float]]  # when each step of each variant was done, in seconds


def rates(done: Done) -> dict[str, float]:
    """Steps per second of each, from when all had begun to when the first had ended."""
    begin, end = max(s[0] for s in done.values()), min(s[-1] for s in done.values())
    if end <= begin:
        raise SystemExit("the trainings are too short to tell how fast they are together")
    return {v: sum(begin < at <= end for at in s) / (end - begin) for v, s in done.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("-o", "--output", required=True, help="folder of the bases")
    parser.add_argument(
        "--variants", nargs="+", default=["ssf", "ssf-sp", "stat-ssf", "stat-ssf-sp"]
    )
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--seconds", type=float, help="take about so long, instead of --steps")
    parser.add_argument("--base", help="train this one further")
    parser.add_argument("--workers", type=int, help="processes that make windows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    prepare_jax()
    chosen = settings.parse_assignments(arguments.set)
    start = library.find(arguments.base).load() if arguments.base else None

    def plan(variant: str, steps: int) -> Plan:
        changes = VARIANTS[variant] | chosen | {"training.steps": steps}
        return Plan("stat-ssf", "stat-ssf-small", changes)

    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    instances = find_all(arguments.inputs)
    batches = batches_of(instances, plan(arguments.variants[0], 1 << 30), arguments.workers)
    print(f"{jax.devices()[0].device_kind}, {len(instances)} clips and stills", flush=True)

    def all_of(steps: int, write: bool) -> Done:
        began = time.perf_counter()
        done: Done = {variant: [] for variant in arguments.variants}

        def train(variant: str) -> None:
            def tell(progress) -> None:
                done[variant].append(time.perf_counter() - began)
                if progress.step == 1 or progress.step % TOLD == 0:
                    print(
                        f"{done[variant][-1]:6.1f} s  {variant:12} step {progress.step}/{steps}  "
                        f"loss {progress.loss:.3f}  {progress.bpp:.3f} bpp  {progress.psnr:.2f} dB",
                        flush=True,
                    )

            base = pretrain(instances, plan(variant, steps), None, tell, start, batches)
            if write:
                with atomic_write(output / f"{variant}.ovb") as file:
                    file.write(pack(base))

        threads = [threading.Thread(target=train, args=(v,)) for v in arguments.variants]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return done

    steps = arguments.steps
    if arguments.seconds:
        all_of(1, write=False)  # compiles
        first = min(rates(all_of(FIRST, write=False)).values())
        steps = max(FIRST, round(first * arguments.seconds))
    done = all_of(steps, write=True)
    batches.close()
    per_second = rates(done)
    configs = {
        v: settings.override(PRESETS["stat-ssf-small"], plan(v, steps).set) for v in per_second
    }
    training = configs[arguments.variants[0]].training
    macs = sum(rate * training_macs(configs[v]) for v, rate in per_second.items())
    peak = product_macs()
    results = {
        "device": jax.devices()[0].device_kind,
        "steps": steps,
        "seconds": {variant: s[-1] for variant, s in done.items()},
        "steps_per_second": per_second,
        "frames_per_second": sum(per_second.values()) * training.batch * training.frames,
        "window": [training.batch, training.frames, training.crop, training.crop],
        "macs_per_second": macs,
        "share_of_matmul": macs / peak,
        "matmul_macs_per_second": peak,
    }
    common.save("stat_ssf_bases", results, settings=vars(arguments))


if __name__ == "__main__":
    main()
