"""What the RAP paper reports, to be shown beside other results."""

from __future__ import annotations

SOURCE = "Nam et al., Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605, Table 2"

IMAGENET_SEGMENTATION_MIOU = {
    "Guillaumin et al.": 57.30,
    "DeepMask": 58.69,
    "DeepSaliency": 62.12,
    "Xiong et al.": 64.22,
    "RAP": 62.23,
}
"""Mean IOU in percent on the ImageNet segmentation masks of Guillaumin et al. (4,276 images), as in `SOURCE`."""
