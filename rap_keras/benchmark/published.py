"""What the RAP paper reports, to be shown beside other results, and what to cite for these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SOURCE = "Nam et al., Relative Attributing Propagation, AAAI 2020, arXiv 1904.00605, Table 2"

IMAGENET_SEGMENTATION_MIOU = {
    "Guillaumin et al.": 57.30,
    "DeepMask": 58.69,
    "DeepSaliency": 62.12,
    "Xiong et al.": 64.22,
    "RAP": 62.23,
}
"""Mean IOU in percent on the ImageNet segmentation masks of Guillaumin et al. (4,276 images), as in `SOURCE`."""

_PAPER = """\
@inproceedings{nam2020relative,
  title     = {Relative Attributing Propagation: Interpreting the Comparative
               Contributions of Individual Units in Deep Neural Networks},
  author    = {Nam, Woo-Jeoung and Gur, Shir and Choi, Jaesik and Wolf, Lior and
               Lee, Seong-Whan},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume    = {34},
  pages     = {2501--2508},
  year      = {2020}
}"""
_SOFTWARE = """\
@software{rap_keras,
  title     = {rap_keras: Relative Attributing Propagation for Keras},
  author    = {{The rap_keras authors}},
  version   = {VERSION}
}"""
_INNVESTIGATE = """\
@article{alber2019innvestigate,
  title     = {{iNNvestigate} Neural Networks!},
  author    = {Alber, Maximilian and Lapuschkin, Sebastian and Seegerer, Philipp and
               H{\\"a}gele, Miriam and Sch{\\"u}tt, Kristof T. and Montavon, Gr{\\'e}goire and
               Samek, Wojciech and M{\\"u}ller, Klaus-Robert and D{\\"a}hne, Sven and
               Kindermans, Pieter-Jan},
  journal   = {Journal of Machine Learning Research},
  volume    = {20},
  number    = {93},
  pages     = {1--8},
  year      = {2019}
}"""


def to_cite(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What to cite for a run: a description and the BibTeX entry of each work.

    Args:
        manifest: of the run; its "versions" say what took part.
    """
    versions = manifest.get("versions", {})
    found = [
        ("Relative Attributing Propagation and the evaluation", _PAPER),
        ("This software", _SOFTWARE.replace("VERSION", versions.get("rap_keras", "unknown"))),
    ]
    if versions.get("innvestigate", "not installed") != "not installed":
        found.append(("iNNvestigate, which provides the other methods here", _INNVESTIGATE))
    return found
