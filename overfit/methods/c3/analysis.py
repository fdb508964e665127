"""Where the latents of a fit from a base start: a linear guess from the image or clip.

A synthesis that is known before the fit makes much the same use of its grids in every image. So a
base also learns, by least squares, what the latents of finished fits are like where the image is
like this: per grid, a weight for each of the image's features at that resolution. Encoders alone
use it; a file says nothing of it. From random networks nothing can be guessed: latents start at 0.
"""

import itertools

import jax
import jax.numpy as jnp

from overfit.methods.c3.config import C3Config
from overfit.nn.resize import resized

RIDGE = 1e-4  # relative to the mean square of the features


def _pyramid(signal, octaves: tuple[int, ...]) -> dict[int, jax.Array]:
    """The signal at each octave up to one beyond the last, by means over 2x2 pixels, of clips in
    two frames."""
    levels = {0: signal}
    for octave in range(1, octaves[-1] + 2):
        above = levels[octave - 1]
        even = [(0, 0), *((0, n % 2) for n in above.shape[1:])]
        above = jnp.pad(above, even, mode="edge")
        pairs = itertools.chain(*((n // 2, 2) for n in above.shape[1:]))
        inside = tuple(range(2, 2 * above.ndim - 1, 2))
        levels[octave] = above.reshape(len(above), *pairs).mean(axis=inside)
    return levels


def _around(rank: int) -> list[tuple[int, ...]]:
    """Where a feature looks from its position, in ((frames,) rows, columns): at 3x3 places, and in
    the frames before and after at its own."""
    places = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    if rank == 2:
        return places
    return [(0, *place) for place in places] + [(-1, 0, 0), (1, 0, 0)]


def knows(encoder, signal, config: C3Config) -> bool:
    """Whether the encoder of a base is for such signals: not an image's for a clip, or the other
    way round, and none yet for a canvas or 4:2:0 samples."""
    if not encoder or isinstance(signal, tuple) or any(config.latents.margin):
        return False
    channels, *size = signal.shape
    count = channels * (len(_around(len(size))) + 1) + 1
    return encoder["w"].shape == (config.latents.num_grids, count)


def _seen(signal, config: C3Config) -> list[list[jax.Array]]:
    """The features of each grid, each [positions]."""
    octaves = config.latents.octaves()
    levels = _pyramid(signal, octaves)
    found = []
    for octave in octaves:
        level, below = levels[octave], levels[octave + 1]
        size = level.shape[1:]
        coarse = jnp.stack([resized(plane, size) for plane in below])
        detail = jnp.pad(level - coarse, ((0, 0), *((1, 1) for _ in size)), mode="edge")
        around = [
            plane[tuple(slice(1 + a, 1 + a + n) for a, n in zip(place, size, strict=True))]
            for place in _around(len(size))
            for plane in detail
        ]
        planes = [*around, *(level - 0.5), jnp.ones(size)]
        found.append([jnp.ravel(plane) for plane in planes])
    return found


def features(signal, config: C3Config) -> list[jax.Array]:
    """[features, positions] of each grid: what the signal has at its resolution and not below it,
    around each position, then the colors there, then 1.

    signal: [channels, (frames,) height, width] in [0, 1].
    """
    return [jnp.stack(planes) for planes in _seen(signal, config)]


def latents(encoder, signal, config: C3Config):
    """[num_latents] to start from. encoder: of a base, {"w": [grids, features]}."""
    found = []
    for weights, planes in zip(encoder["w"], _seen(signal, config), strict=True):
        # Plane by plane: those of a large image are never all there at once.
        sums = jnp.zeros(planes[0].shape)
        for weight, plane in zip(weights, planes, strict=True):
            sums += weight * plane
        found.append(sums)
    return jnp.concatenate(found)


def moments(params, signal, config: C3Config):
    """What `solved` needs of a finished fit, to be added up over many."""
    sums, position = [], 0
    for x in features(signal, config):
        y = params["latents"][position : position + x.shape[1]]
        position += x.shape[1]
        sums.append((x @ x.T / x.shape[1], x @ y / x.shape[1]))
    return tuple(jnp.stack(parts) for parts in zip(*sums, strict=True))


def solved(sums) -> dict[str, jax.Array]:
    """The arrays of a base's encoder."""
    gram, cross = sums
    size = gram.shape[-1]
    power = jnp.trace(gram, axis1=-2, axis2=-1) / size
    ridge = RIDGE * power[:, None, None] * jnp.eye(size)[None]
    return {"w": jnp.linalg.solve(gram + ridge, cross[..., None])[..., 0]}
