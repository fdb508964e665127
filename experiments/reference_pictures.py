"""What the entropy model looks at: Figures 8, 10 and 11 of Qian et al., from a file of an image.

    python experiments/reference_pictures.py IMAGE --base NAME [--other GDN_BASE]

Writes experiments/results/reference_relevance.png (targets and their references on the picture),
reference_maps.png (similarity S, confidence U, bits) and reference_histograms.png (the four
channels that take most bits, for one base or two: GSDN and GDN).
"""

import argparse

import common
import matplotlib

matplotlib.use("Agg")
import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

from overfit.bases import library  # noqa: E402
from overfit.io.images import load_image  # noqa: E402
from overfit.methods.reference import codec, encoder  # noqa: E402

TARGETS = 8
LMBDA = 1e-3


def traced(image, name: str):
    base = library.find(name).load()
    signal = image.transpose(2, 0, 1).astype(np.float32) / 255
    code = encoder.code(signal, base, LMBDA, codec.configuration(base))
    return code, codec.trace(code, base)


def relevance(image, code, trace):
    """The targets whose references are most similar, apart from neighbors and from each other."""
    _, _, columns = code.y.shape
    target = np.arange(trace.reference.size)
    places = np.stack(np.divmod(target, columns), 1)
    distance = np.abs(places - places[np.maximum(trace.reference, 0)]).max(axis=1)
    score = np.where((trace.reference >= 0) & (distance > 3), trace.similarity, -1)
    chosen: list[int] = []
    for t in np.argsort(-score):
        if score[t] > 0 and all(np.abs(places[t] - places[c]).max() > 3 for c in chosen):
            chosen.append(int(t))
        if len(chosen) == TARGETS:
            break
    figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
    axes.imshow(image)
    axes.axis("off")
    for number, t in enumerate(chosen, 1):
        for at, color in ((t, "purple"), (int(trace.reference[t]), "gold")):
            row, column = divmod(at, columns)
            corner = 16 * column - 16, 16 * row - 16
            axes.add_patch(plt.Rectangle(corner, 48, 48, fill=False, color=color, lw=1.5))
            axes.text(corner[0] + 2, corner[1] + 14, str(number), color=color, fontsize=8)
    return figure


def maps(code, trace):
    shape = code.y.shape[1:]
    planes = {
        "similarity S": trace.similarity, "confidence U": trace.confidence,
        "bits": trace.bits.sum(axis=0),
    }  # fmt: skip
    figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained")
    for axis, (title, plane) in zip(axes, planes.items(), strict=True):
        figure.colorbar(axis.imshow(plane.reshape(shape)), ax=axis)
        axis.set(title=title, xticks=[], yticks=[])
    return figure


def histograms(codes: dict):
    figure, axes = plt.subplots(
        len(codes), 4, figsize=(12, 2.5 * len(codes)), layout="constrained", squeeze=False
    )
    for row, (name, (code, trace)) in zip(axes, codes.items(), strict=True):
        for axis, channel in zip(row, np.argsort(-trace.bits.sum(axis=1))[:4], strict=True):
            values = code.y[channel].ravel()
            axis.hist(values, np.arange(values.min(), values.max() + 2) - 0.5)
            axis.axvline(values.mean(), color="black", lw=1)
            axis.set_title(f"{name}: channel {channel}, mean {values.mean():+.2f}", fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("--base", required=True)
    parser.add_argument("--other")
    arguments = parser.parse_args()
    image = load_image(arguments.image)
    names = [arguments.base] + ([arguments.other] if arguments.other else [])
    codes = {name: traced(image, name) for name in names}
    code, trace = codes[arguments.base]
    figures = {
        "relevance": relevance(image, code, trace),
        "maps": maps(code, trace),
        "histograms": histograms(codes),
    }
    for name, figure in figures.items():
        figure.savefig(common.RESULTS / f"reference_{name}.png", dpi=100)
    known = trace.reference >= 0
    summary = {
        "image": image.shape[:2],
        "share_of_positions_with_a_reference": float(known.mean()),
        "mean_similarity": float(trace.similarity[known].mean()),
        "mean_confidence": float(trace.confidence[known].mean()),
        "mean_of_latents": {
            name: float(np.abs(one.y.mean(axis=(1, 2))).mean()) for name, (one, _) in codes.items()
        },
    }
    print(summary)
    common.save("reference_pictures", summary)


if __name__ == "__main__":
    main()
