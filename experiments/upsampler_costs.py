"""Encoding time and the share of the networks in files (tables 4 and 7 of the upsampler's paper).

    python experiments/upsampler_costs.py -o runs/upsampler

From the records of the other experiments: seconds per frame on the machine that made them, which
was busy with other work, too; x265 at half the resolution is part of the method's time.
"""

from pathlib import Path

import common
from upsampler_study import FULL, arguments_of, curves


def main() -> None:
    arguments = arguments_of(__doc__ or "").parse_args()
    rows = []
    for clip, labels in curves(Path(arguments.output)):
        for label, records in labels.items():
            for record in records:
                if "bits" not in record:
                    continue
                anchors = [r for r in labels.get(FULL, []) if r["qp"] == record["qp"]]
                rows.append(
                    {
                        "clip": clip,
                        "label": label,
                        "qp": record["qp"],
                        "share_of_networks": record["bits"]["networks"] / (8 * record["bytes"]),
                        "seconds_per_frame": record["seconds_encode"] / record["frames"],
                        "x265_seconds_per_frame": anchors[0]["seconds_encode"] / record["frames"]
                        if anchors
                        else None,
                        "decode_frames_per_second": record["frames"] / record["seconds_decode"],
                    }
                )
                print(clip, label, record["qp"], f"{100 * rows[-1]['share_of_networks']:.1f} %")
    common.save("upsampler_costs", rows)


if __name__ == "__main__":
    main()
