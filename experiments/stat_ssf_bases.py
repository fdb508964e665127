"""Trains variants of STAT-SSF side by side: on the same windows, for equally many steps.

    python experiments/stat_ssf_bases.py clips:SEPTUPLETS STILLS -o bases --steps 10000

Each is what `overfit pretrain --method stat-ssf --variant V --width W --steps N --set ...` makes of
the same inputs; here the windows, which cores make while an accelerator trains, are made once for
all of them. A base is written as bases/VARIANT.ovb when it is done.
"""

import argparse
import threading
import time
from pathlib import Path

import common  # noqa: F401  (sets up JAX's devices first)
import jax

from overfit import settings
from overfit.bases.base import pack
from overfit.commands.common import prepare_jax
from overfit.io.atomic import atomic_write
from overfit.io.datasets import find_all
from overfit.meta.pretrain import Plan, batches_of, pretrain
from overfit.methods.stat_ssf.config import VARIANTS

TOLD = 250  # steps


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
    print(f"{jax.devices()[0].device_kind}, {len(instances)} clips and stills", flush=True)

    def train(variant: str) -> None:
        def tell(progress) -> None:
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


if __name__ == "__main__":
    main()
