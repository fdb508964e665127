"""Strict JAX, two virtual devices, and a picture to compress."""

import os

# Before JAX starts, and for the processes that tests start. To run on another platform, name it
# in the environment.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import optax
import pytest

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# This process compiles afresh: nothing is read from, or left in, anybody's cache.
jax.config.update("jax_enable_compilation_cache", False)

_scale_by_adam = optax.scale_by_adam


def _scale_by_adam_in_standard_promotion(*args, **kwargs):
    """Optax corrects Adam's bias by float ** int32, which strict promotion refuses."""
    transform = _scale_by_adam(*args, **kwargs)

    def update(updates, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return transform.update(updates, state, params)

    return transform._replace(update=update)


optax.scale_by_adam = _scale_by_adam_in_standard_promotion


def make_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A gradient, a few flat shapes and mild texture: uint8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    slopes = rng.uniform(-60, 60, (2, channels))
    image = 128 + (y[..., None] - 0.5) * slopes[0] + (x[..., None] - 0.5) * slopes[1]
    for _ in range(4):
        cy, cx, radius = rng.uniform(0, 1, 3) * (1, 1, 0.3)
        distance = (
            np.maximum(abs(y - cy), abs(x - cx)) if rng.random() < 0.5 else np.hypot(y - cy, x - cx)
        )
        image[distance < radius] = rng.uniform(20, 235, channels)
    texture = np.sin(40 * x + 25 * y) * np.sin(31 * y) + rng.normal(0, 0.5, (height, width))
    return np.clip(image + 4 * texture[..., None], 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="session", autouse=True)
def cache_of_child_processes(tmp_path_factory):
    """Commands that tests run share their compiled programs, and leave them in no user's cache."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("xla"))


@pytest.fixture(scope="session")
def picture():
    """`make_picture`, for tests of every folder."""
    return make_picture


@pytest.fixture
def two_devices():
    """Skips a test that spreads work over devices where there is one device only."""
    if jax.local_device_count() < 2:
        pytest.skip("needs two devices")


@pytest.fixture(autouse=True)
def _environment():
    """The command line sets variables for JAX: not for the tests that follow."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
