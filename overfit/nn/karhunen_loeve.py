"""Networks of strided convolutions that begin as a linear transform which knows what pictures are.

From random weights, thousands of steps go into finding out that neighbors are alike. Here each
layer of an analysis begins as the Karhunen-Loeve transform of the 2x2 neighbors that it makes one
of, for pictures of the usual covariance (a Gauss-Markov process: Jain, "Fundamentals of digital
image processing", 1989, chapter 5), and each layer of the synthesis as its transpose. A ReLU
between them does nothing to channels that are there twice, with both signs. What is left over of
a layer's channels is random, and is seen by no other layer yet.
"""

import numpy as np

from overfit.nn import gains

CORRELATION = 0.95  # of neighbors in a picture
DEVIATION = 0.25  # of its values in 0..1
COLORS = np.full((3, 3), 0.9) + 0.1 * np.eye(3)  # correlation of a pixel's colors
_CENTER = 2  # of 5 taps: those at 2 and 3 cover the two neighbors of a stride


def _covariance(side: int) -> np.ndarray:
    """Of a square of pixels: [3 * side^2, 3 * side^2], (color, row, column)."""
    along = CORRELATION ** np.abs(np.subtract.outer(np.arange(side), np.arange(side)))
    return DEVIATION**2 * np.kron(COLORS, np.kron(along, along))


def transforms(most: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Of layers with at most so many channels: [2, 2, in, out] each, orthonormal in `out`.

    And the standard deviations of what the last one gives: [out].
    """
    features, found, deviations = np.eye(3).reshape(3, 3, 1, 1), [], np.zeros(0)  # of pixels
    for channels in most:
        count, _, side, _ = features.shape
        group = np.zeros((2, 2, count, 3, 2 * side, 2 * side))
        for p, q in np.ndindex(2, 2):
            rows, columns = (slice(i * side, (i + 1) * side) for i in (p, q))
            group[p, q, :, :, rows, columns] = features
        group = group.reshape(4 * count, 12 * side**2)
        variances, vectors = np.linalg.eigh(group @ _covariance(2 * side) @ group.T)
        vectors = vectors[:, ::-1][:, :channels]
        deviations = np.sqrt(np.maximum(variances[::-1][:channels], 0))
        kept = vectors.shape[1]
        features = (vectors.T @ group).reshape(kept, 3, 2 * side, 2 * side)
        found.append(vectors.reshape(2, 2, count, kept))
    return found, deviations


def begin(
    analysis: dict[str, np.ndarray], synthesis: dict[str, np.ndarray], signs: tuple[int, ...]
) -> np.ndarray:
    """Writes the transforms into 5x5 layers of stride 2, {w0, w1, ..}: [out, 25 * in].

    The analysis sees 3 colors; the first inputs of the synthesis are its outputs, and others do
    nothing. signs: that inner channels have: (1, -1) for a ReLU between layers, or (1,).
    Returns the outputs' standard deviations, [at most as many as there are].
    """
    layers = sum(name.startswith("w") for name in analysis)
    sizes = [len(analysis[f"w{layer}"]) for layer in range(layers)]
    most = [size // len(signs) for size in sizes[:-1]] + sizes[-1:]
    matrices, deviations = transforms(most)
    for layer, matrix in enumerate(matrices):
        ends = (1,) if layer == 0 else signs, (1,) if layer == layers - 1 else signs
        # Averages, which are as large as pixels; the last layer makes the whole orthonormal.
        share = 2.0 ** (layers - 1) if layer == layers - 1 else 0.5
        matrix = np.kron(np.outer(*ends), matrix)
        _write(analysis[f"w{layer}"], share * matrix.swapaxes(2, 3))
        _write(synthesis[f"w{layers - 1 - layer}"], matrix / share)
    return deviations


def _write(weights: np.ndarray, kernel: np.ndarray) -> None:
    """kernel: [2, 2, outputs, inputs], of the first ones; these see no others."""
    outputs, inputs = kernel.shape[2:]
    taps = weights.reshape(len(weights), 25, -1)
    taps[:outputs] = 0
    for p, q in np.ndindex(2, 2):
        taps[:outputs, 5 * (_CENTER + p) + _CENTER + q, :inputs] = kernel[p, q]


def scaled(deviations: np.ndarray, lmbdas, channels: int) -> tuple[dict, np.ndarray]:
    """(gains for latents of these deviations, log2 of their scales in bins to be predicted first).

    Scales are those of the middle trade-off.
    """
    table = gains.initial(lmbdas, channels, gains.of_transform(lmbdas[0]))
    log2_scales = np.mean(table["encoder"], axis=0)[: len(deviations)] + np.log2(deviations)
    return table, log2_scales


def tamed(weights: np.ndarray, taps: int, log2_scales: np.ndarray) -> np.ndarray:
    """Those of a layer that sees latents of such scales (log2, in bins), as if they were of two.

    [out, taps * in]; log2_scales: of the first inputs.
    """
    weights = weights.reshape(len(weights), taps, -1).copy()
    factors = np.exp2(-np.maximum(log2_scales - 1, 0))
    weights[..., : len(factors)] *= factors.astype(weights.dtype)
    return weights.reshape(len(weights), -1)
