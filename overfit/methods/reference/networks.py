"""The codec's networks, wired once for every arithmetic.

They are written over an `Arithmetic`: floats with gradients in a fit, NumPy's floats in a decoder's
synthesis, and exact integers for all that the entropy coder depends on.
"""

from collections.abc import Callable

from overfit.nn.convolutions import square
from overfit.nn.layers import Arithmetic
from overfit.nn.normalization import denormalize, normalize

# -- Transforms ------------------------------------------------------------------------------------


def _normalized(layers: Arithmetic, function: Callable, network: dict, i: int, x):
    p = {n: network[f"{n}{i}"] for n in ("beta", "gamma", "nu", "tau") if f"{n}{i}" in network}
    flat = x.reshape(len(x), -1)
    return layers.pointwise(lambda part: function(p, part), flat).reshape(x.shape)


def analysis(layers: Arithmetic, networks: dict, image):
    """[3, height, width], values in 0..1 -> [latents, height / 16, width / 16]."""
    x = image - image.dtype.type(0.5)
    for i in range(3):
        x = layers.down("analysis", i, x)
        x = _normalized(layers, normalize, networks["analysis"], i, x)
    return layers.down("analysis", 3, x)


def synthesis(layers: Arithmetic, networks: dict, y):
    """The inverse, approximately."""
    for i in range(3):
        y = layers.up("synthesis", i, y)
        y = _normalized(layers, denormalize, networks["synthesis"], i, y)
    return layers.up("synthesis", 3, y) + y.dtype.type(0.5)


def hyper_analysis(layers: Arithmetic, y):
    """[latents, rows, columns] -> [hyper_width, rows / 4, columns / 4]; y is not rounded."""
    x = layers.leaky(layers.taps("hyper_analysis", 0, y, square(3)))
    x = layers.leaky(layers.down("hyper_analysis", 1, x))
    return layers.down("hyper_analysis", 2, x)


# -- The entropy model -----------------------------------------------------------------------------


def hyper_synthesis(layers: Arithmetic, z):
    """[hyper_width, rows, columns] -> features [2 * latents, 4 rows * 4 columns]."""
    x = layers.leaky(layers.up("hyper_synthesis", 0, z))
    x = layers.leaky(layers.up("hyper_synthesis", 1, x))
    x = layers.taps("hyper_synthesis", 2, x, square(3))
    return x.reshape(len(x), -1)


def predict(layers: Arithmetic, stage: int, features: list, previous, mixture: bool = False):
    """What is known after a stage: (prediction [2 * latents, n], shares [latents, n] or None).

    The prediction is means in bins, then scales. Shares are those of a mixture, before they are
    normalized. Scales and shares are logarithms to base 2.
    features: of this stage and those before, [channels, n] each; previous: what the stage before
    predicted, None at the first. A stage sees both and corrects the prediction (section 3).
    """
    network = f"parameters{stage}"
    xp = features[0].__array_namespace__()
    x = xp.concatenate(features if previous is None else [*features, previous])
    x = layers.leaky(layers.dense(network, 0, x))
    x = layers.leaky(layers.dense(network, 1, x))
    share = layers.dense(network, 3, x) if mixture else None
    x = layers.dense(network, 2, x)
    return (x if previous is None else layers.add(previous, x)), share
