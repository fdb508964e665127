"""A model so small that it compiles and fits in seconds, for tests of all but its quality."""

SMALL = {
    "latents.num_grids": 2,
    "entropy.widths": (4,),
    "entropy.context": 1,
    "synthesis.widths": (4,),
    "synthesis.residual_layers": 0,
}


def ignorant(base):
    """A base of the same networks that knows nothing: all centers are zero."""
    arrays = {
        name: prior._replace(center=prior.center._replace(k=0 * prior.center.k))
        for name, prior in base.arrays.items()
    }
    return base._replace(arrays=arrays)


def words(settings: dict) -> list[str]:
    """--set=KEY=VALUE of each, for the command line."""
    return [
        f"--set={key}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for key, value in settings.items()
    ]
