"""C3 on the Kodak images beside classical codecs and published curves (Figures 1 and 5).

    python experiments/kodak.py KODAK_FOLDER            24 images, 14 lambdas, 100000 steps: days
    python experiments/kodak.py KODAK_FOLDER --subset   2 images, 3 lambdas, 2000 steps: an hour
    python experiments/kodak.py                         the figures again, from the results on disk

A run that is interrupted continues where it was.
"""

from rate_distortion import IMAGE_CODECS, PAPER_LMBDAS, Plan, main

if __name__ == "__main__":
    methods = (*IMAGE_CODECS, "c3-kodak")
    main(
        "kodak",
        Plan(methods, PAPER_LMBDAS, steps=100_000),
        Plan(methods, (4e-4, 1e-3, 4e-3), steps=2000),
        ("kodim05", "kodim23"),
        anchor="hevc-intra",
    )
