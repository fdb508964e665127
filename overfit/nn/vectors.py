"""Several arrays in one vector."""

import math

import jax
import jax.numpy as jnp


def split(vector, shapes) -> list:
    """[n], NumPy or JAX -> arrays of these shapes, one after the other, which are all of it."""
    shapes = tuple(map(tuple, shapes))
    if sum(map(math.prod, shapes)) != len(vector):
        raise ValueError(f"{len(vector)} numbers are not arrays of shapes {shapes}")
    return (_split if isinstance(vector, jax.Array) else _parts)(vector, shapes)


def _parts(vector, shapes: tuple) -> list:
    found, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        found.append(vector[start : start + size].reshape(shape))
        start += size
    return found


# The gradient of a slice is all of a vector, zero elsewhere; XLA would add one for each array.
_split = jax.custom_vjp(_parts, nondiff_argnums=(1,))
_split.defvjp(
    lambda vector, shapes: (_parts(vector, shapes), None),
    lambda shapes, _, gradients: (jnp.concatenate([g.ravel() for g in gradients]),),
)
