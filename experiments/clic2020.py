"""C3 on CLIC 2020 (professional, validation) beside classical codecs and published curves.

Figures 1 and 6 of the paper.

    python experiments/clic2020.py CLIC_FOLDER            41 images, 14 lambdas: weeks on a CPU
    python experiments/clic2020.py CLIC_FOLDER --subset   2 images, 3 lambdas, 2000 steps
    python experiments/clic2020.py                        the figures, from the results on disk

A run that is interrupted continues where it was.
"""

from rate_distortion import IMAGE_CODECS, PAPER_LMBDAS, Plan, main

if __name__ == "__main__":
    methods = (*IMAGE_CODECS, "c3-clic")
    main(
        "clic2020",
        Plan(methods, PAPER_LMBDAS, steps=100_000),
        Plan(methods, (4e-4, 1e-3, 4e-3), steps=2000),
        ("alberto-montalesi-176097", "alejandro-escamilla-6"),
        anchor="hevc-intra",
    )
